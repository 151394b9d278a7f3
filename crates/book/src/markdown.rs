//! The book's pages, and the code blocks on them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// One file of the book's sources.
#[derive(Clone, Debug)]
pub struct Page {
    /// The file, from the root of the workspace.
    pub file: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What stands after the fence: `rust,ignore`.
    pub info: String,
    /// The line of the file where the content begins, counted from 1.
    pub line: usize,
    /// The content.
    pub text: String,
    /// Where the block stands in the page, its fences included.
    pub range: Range<usize>,
}

impl Block {
    /// The first word after the fence.
    pub fn language(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    /// Whether this word stands after the language: `console,ignore`.
    pub fn has(&self, word: &str) -> bool {
        self.words().skip(1).any(|it| it == word)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.info.split([',', ' ']).filter(|word| !word.is_empty())
    }
}

/// All pages under `book/src` of the workspace at `root`, in order.
///
/// # Errors
/// A file cannot be read.
pub fn pages(root: &Path) -> io::Result<Vec<Page>> {
    let mut files = files_under(&root.join("book/src"))?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file)?;
        let file = file.strip_prefix(root).unwrap_or(&file).to_owned();
        Ok(Page { file, text })
    };
    files.into_iter().map(read).collect()
}

/// The names of the book's chapters, as their files have them: `stage-05`.
///
/// # Errors
/// As [`pages`].
pub fn chapters(root: &Path) -> io::Result<Vec<String>> {
    let mut files: Vec<_> = pages(root)?.into_iter().map(|page| page.file).collect();
    files.retain(|file| file.parent() == Some(Path::new("book/src")));
    let names = files.iter().filter_map(|file| file.file_stem()?.to_str());
    Ok(names.filter(|name| *name != "SUMMARY").map(str::to_owned).collect())
}

/// The fenced code blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (event, range) in Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                let line = line_of(page, range.start) + 1;
                blocks.push(Block { info: info.into_string(), line, text: String::new(), range });
                open = true;
            }
            Event::Text(text) if open => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => open = false,
            _ => {}
        }
    }
    blocks
}

/// Code within the text, and where it stands, its backticks included; without what is a link.
pub fn codes(page: &str) -> Vec<(String, Range<usize>)> {
    let mut codes = Vec::new();
    let mut in_link = false;
    for (event, range) in Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Link { .. }) => in_link = true,
            Event::End(TagEnd::Link) => in_link = false,
            Event::Code(code) if !in_link => codes.push((code.into_string(), range)),
            _ => {}
        }
    }
    codes
}

/// The line, counted from 1, in which the byte at `offset` stands.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// All files under a directory, in order.
pub(crate) fn files_under(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => directories.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_line_wherever_they_stand() {
        let page = "text\n\n```rust,ignore\na\n```\n\n<details>\n<summary>?</summary>\n\n\
                    ```console\n$ b\n```\n\n</details>\n\n- item\n\n  ```transcript\n  c\n\n  d\n  ```\n";
        let blocks = blocks(page);
        let found: Vec<_> =
            blocks.iter().map(|it| (it.language(), it.line, it.text.as_str())).collect();
        assert_eq!(
            found,
            [("rust", 4, "a\n"), ("console", 11, "$ b\n"), ("transcript", 19, "c\n\nd\n")]
        );
        assert!(blocks[0].has("ignore") && !blocks[1].has("ignore"));
        assert!(page[blocks[0].range.clone()].starts_with("```rust"));
    }
}
