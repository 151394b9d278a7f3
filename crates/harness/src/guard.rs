//! Nothing that was started outlives this process, however it ends: by a panic, or killed.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Reads which groups are there, until this process and with it the pipe is gone. Then it kills
/// those that are left.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r change group; do
    case $change in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*)
        groups="${groups%% $group *} ${groups#* $group }" ;;
    esac ;;
    esac
done
for group in $groups; do kill -9 "-$group"; done
"#;

/// From now on the group is killed when this process ends.
pub(crate) fn watch(group: i32) {
    tell('+', group);
}

/// The group's id is free again, and may become somebody else's.
pub(crate) fn forget(group: i32) {
    tell('-', group);
}

fn tell(change: char, group: i32) {
    static GUARD: Mutex<Option<Guard>> = Mutex::new(None);
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        *guard = Guard::start().ok();
    }
    // Without a guard (there is no `sh`, or somebody killed it) groups end as their values do.
    if let Some(guard) = &mut *guard {
        let _ = writeln!(guard.pipe, "{change} {group}");
    }
}

struct Guard {
    pipe: ChildStdin,
    /// It ends after this process, so nobody waits for it.
    _child: Child,
}

impl Guard {
    fn start() -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C does not reach it.
            .process_group(0)
            .spawn()?;
        let pipe = child.stdin.take().expect("it was piped");
        Ok(Self { pipe, _child: child })
    }
}
