//! Ends something together with this process, however that ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A shell that waits for the end of its input, which is ours to close and closes with this process in any case, and
/// then runs a script.
pub struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// `arguments` are the script's `$1` and so on.
    pub fn new(script: &str, arguments: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", &format!("cat >/dev/null\n{script}"), "guard"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is not for it.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }

    /// Leaves what it guards alone.
    pub fn disarm(mut self) {
        let _ = self.shell.kill();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
