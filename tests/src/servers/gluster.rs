//! GlusterFS: a management daemon and a volume of one brick.

use std::path::PathBuf;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::process::{Server, own_address, require, send, try_run, wait_until};

/// A volume `vol0`; killed when dropped.
pub struct Gluster {
    _daemon: Server,
    /// Address of the servers, which only this process uses: bricks find the management daemon at port 24007 only, and
    /// are refused on 127.0.0.1.
    host: String,
    directory: TempDir,
}

impl Gluster {
    /// Starts the servers.
    ///
    /// # Panics
    /// A program is missing, or they do not start.
    #[must_use]
    pub fn start() -> Self {
        require("glusterd", "glusterfs-server");
        // The paths of its unix sockets must be short.
        let directory = tempfile::Builder::new().prefix("gl").tempdir_in("/tmp").expect("a directory");
        let path = directory.path();
        for name in ["work", "run", "brick"] {
            std::fs::create_dir(path.join(name)).expect("a directory");
        }
        let host = own_address(100);
        let volfile = path.join("glusterd.vol");
        std::fs::write(&volfile, configuration(&path.display().to_string(), &host)).expect("a file");
        let text = |name: &str| path.join(name).display().to_string();
        let arguments =
            ["-N", "-f", &text("glusterd.vol"), "-l", &text("glusterd.log"), "-p", &text("run/glusterd.pid")]
                .map(str::to_owned);
        let daemon = Server::start("glusterd", &arguments, &path.join("glusterd.out"));
        let servers = Self { _daemon: daemon, host, directory };
        wait_until("the management daemon answers", || servers.try_gluster(&["volume", "list"]).is_ok());
        let brick = format!("{}:{}", servers.host, servers.path("brick").display());
        servers.gluster(&["volume", "create", "vol0", "transport", "tcp", &brick, "force"]);
        let options = [
            "performance.quick-read",
            "performance.read-ahead",
            "performance.io-cache",
            "performance.stat-prefetch",
            "performance.write-behind",
        ];
        let off: Vec<&str> = options.into_iter().flat_map(|option| [option, "off"]).collect();
        let more = ["server.allow-insecure", "on", "auth.allow", "127.*"];
        servers.gluster(&[&["volume", "set", "vol0"], &off[..], &more].concat());
        servers.gluster(&["volume", "start", "vol0"]);
        wait_until("the brick is online", || servers.brick().is_some() && servers.is_online());
        servers
    }

    /// Path of a file of the servers.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file of zeroes on the volume, directly on its only brick.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn file(&self, name: &str, len: u64) {
        let file = std::fs::File::create(self.path("brick").join(name)).expect("a file");
        file.set_len(len).expect("a length");
    }

    /// Path of a store for a file of the volume.
    #[must_use]
    pub fn name(&self, file: &str) -> String {
        format!("vol0@{}:{file}", self.host)
    }

    /// Name of a file for QEMU's gluster driver.
    #[must_use]
    pub fn qemu_name(&self, file: &str) -> String {
        format!("gluster://{}/vol0/{file}", self.host)
    }

    /// Stops the brick, or lets it go on. Connections to it stay open, and nothing is answered.
    ///
    /// # Panics
    /// It does not run.
    pub fn pause_brick(&self, paused: bool) {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        send(self.brick().expect("a brick"), signal);
    }

    /// Kills the brick.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill_brick(&self) {
        let brick = self.brick().expect("a brick");
        send(brick, Signal::KILL);
        wait_until("the brick ends", || !runs(brick));
        // The management daemon takes a process that nobody has waited for as running.
        if let Some(path) = self.brick_pid_file() {
            std::fs::remove_file(path).expect("a file");
        }
    }

    /// Starts the brick again.
    pub fn restart_brick(&self) {
        self.gluster(&["volume", "start", "vol0", "force"]);
        wait_until("the brick runs", || self.brick().is_some());
    }

    fn is_online(&self) -> bool {
        self.try_gluster(&["volume", "status", "vol0", "--xml"])
            .is_ok_and(|status| status.contains("<status>1</status>"))
    }

    fn try_gluster(&self, words: &[&str]) -> Result<String, String> {
        let socket = format!("--glusterd-sock={}", self.path("glusterd.socket").display());
        let log = format!("--log-file={}", self.path("cli.log").display());
        try_run("gluster", &[&["--mode=script", &socket, &log], words].concat())
    }

    #[track_caller]
    fn gluster(&self, words: &[&str]) -> String {
        match self.try_gluster(words) {
            Ok(output) => output,
            Err(error) => panic!("gluster {words:?}: {error}"),
        }
    }

    /// The process of the brick, which the management daemon has started.
    fn brick(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.brick_pid_file()?).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        let command = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let ours = String::from_utf8_lossy(&command).contains(&self.path("").display().to_string());
        (ours && runs(pid)).then_some(pid)
    }

    fn brick_pid_file(&self) -> Option<PathBuf> {
        ["run/gluster/vols/vol0", "run/vols/vol0"].into_iter().find_map(|directory| {
            let files = std::fs::read_dir(self.path(directory)).ok()?.filter_map(Result::ok);
            files
                .map(|entry| entry.path())
                .find(|path| path.extension().is_some_and(|extension| extension == "pid"))
        })
    }
}

impl Drop for Gluster {
    fn drop(&mut self) {
        if let Some(brick) = self.brick() {
            let _ = rustix::process::kill_process(brick, Signal::KILL);
        }
        // The brick's log is there whatever the options say.
        let name = self.path("brick").display().to_string().trim_start_matches('/').replace('/', "-");
        let _ = std::fs::remove_file(format!("/var/log/glusterfs/bricks/{name}.log"));
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

fn configuration(directory: &str, host: &str) -> String {
    format!(
        "volume management
    type mgmt/glusterd
    option working-directory {directory}/work
    option run-directory {directory}/run
    option glusterd-sockfile {directory}/glusterd.socket
    option transport-type socket
    option transport.address-family inet
    option transport.socket.bind-address {host}
    option transport.socket.listen-port 24007
    option transport.socket.read-fail-log off
    option ping-timeout 0
    option event-threads 1
    option rpc-auth-allow-insecure on
end-volume
"
    )
}
