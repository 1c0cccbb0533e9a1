//! Writes the manual pages and the completions of shells into a folder: `cargo run --example command-line -- FOLDER`.
//!
//! For `scripts/release`. Not a subcommand, because who runs a worker needs none of the libraries that write them.

use std::fs;
use std::path::PathBuf;

use bankrefresh::cli::command_line;
use clap_complete::Shell;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("usage: command-line FOLDER"));
    let (pages, completions) = (folder.join("man/man1"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command_line(), pages)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command_line(), "bankrefresh", &completions)?;
    }
    Ok(())
}
