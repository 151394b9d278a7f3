// Echo and broadcast in Go, as one writes them there: a goroutine for each client, and for a
// broadcast a channel of lines for each, too. Usage: server echo|broadcast [--port N]
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
)

var (
	mutex   sync.RWMutex
	clients = map[chan []byte]bool{}
)

func main() {
	port := "3000"
	if len(os.Args) > 3 {
		port = os.Args[3]
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		if os.Args[1] == "echo" {
			go echo(conn)
		} else {
			go chat(conn)
		}
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 4096)
	for {
		read, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:read]); err != nil {
			return
		}
	}
}

func chat(conn net.Conn) {
	lines := make(chan []byte, 256)
	mutex.Lock()
	clients[lines] = true
	mutex.Unlock()
	gone := make(chan struct{})
	go func() {
		for {
			select {
			case line := <-lines:
				if _, err := conn.Write(line); err != nil {
					conn.Close()
				}
			case <-gone:
				return
			}
		}
	}()
	reader := bufio.NewReader(conn)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			mutex.RLock()
			for client := range clients {
				if client != lines {
					client <- line
				}
			}
			mutex.RUnlock()
		}
		if err != nil {
			break
		}
	}
	go func() { // whoever still sends to this client must not wait
		for {
			select {
			case <-lines:
			case <-gone:
				return
			}
		}
	}()
	mutex.Lock()
	delete(clients, lines)
	mutex.Unlock()
	close(gone)
	conn.Close()
}
