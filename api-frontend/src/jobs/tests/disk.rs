use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::Ordering;

use super::*;
use crate::store::EndState;

/// A small file system below a folder, for as long as this lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "airlock-test"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Takes what is left of it.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it can be removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn with_a_full_disk_jobs_wait_starts_are_refused_and_all_goes_on_when_there_is_room() {
    let mut rig = Rig::new();
    rig.kill();
    let Some(disk) = SmallDisk::mount(&rig.dir.path().join("state")) else {
        println!("skipped with_a_full_disk_jobs_wait…: no tmpfs can be mounted here");
        return;
    };
    rig.boot();
    rig.wait_connected();
    let (writes, ends) = (rig.running(), rig.running());
    disk.fill();
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n / 5) as u8).collect();
    rig.fake.write(writes, OUT, &data);
    rig.until("the trouble", || rig.jobs().core.disk_trouble.load(Ordering::SeqCst).then_some(()));
    assert!(rig.fake.world().jobs[&writes].acked[0] < 3_000_000, "what is not in the log is not acknowledged");
    rig.exit(ends, 0);
    let error = rig.start(&alice(), ask("r-full")).unwrap_err();
    assert!(error.to_string().contains("room"), "{error}");
    assert!(rig.status(writes).job.state.is_live(), "looking needs no room");
    disk.free();
    rig.fake.wait("the rest", |w| w.jobs[&writes].acked[0] == 3_000_000);
    rig.exit(writes, 0);
    for job in [writes, ends] {
        rig.wait_state(job, JobState::Ended(EndState::Finished));
    }
    assert!(rig.read(writes, ReadOptions::default()).0 == data);
    assert!(rig.start(&alice(), ask("r-again")).is_ok());
    drop(rig);
    drop(disk);
}
