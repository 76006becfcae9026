//! A sysfs in a directory of its own, laid out as the kernel's: devices below `devices`, links to them elsewhere.
//!
//! Knows where files are; what a disk is used for, its texts say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use real::hardware::Machine;
use real::socket_peer::fresh_dir;

/// The NVMe controller that all trees have.
pub const ADDRESS: &str = "0000:01:00.0";
/// Behind this port.
const PORT: &str = "devices/pci0000:00/0000:00:1d.0";

/// A machine with an NVMe controller.
pub struct Tree {
    root: PathBuf,
    pub mountinfo: String,
    pub swaps: String,
}

impl Tree {
    /// One whose controller has this driver, or none.
    pub fn new(driver: Option<&str>) -> Self {
        let root = fresh_dir("hardware").expect("a directory");
        let mountinfo = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                         27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
        let swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        let tree = Self {
            root,
            mountinfo: mountinfo.to_owned(),
            swaps: swaps.to_owned(),
        };
        tree.pci(ADDRESS, "0x010802", driver);
        // Another disk, from which it runs.
        let ata = format!("{PORT}/../0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0");
        tree.disk("sda", &ata, "block/sda", "8:0");
        tree.partition("sda", "sda1", "8:1");
        tree
    }

    pub fn machine(&self) -> Machine {
        let (sysfs, dev) = (self.root.join("sys"), self.root.join("dev"));
        Machine::new(&sysfs, &dev, &self.mountinfo, &self.swaps)
    }

    pub fn pci(&self, address: &str, class: &str, driver: Option<&str>) {
        let dir = format!("{PORT}/{address}");
        for (file, text) in [("class", class), ("vendor", "0x8086"), ("device", "0x0a54")] {
            self.write(&format!("{dir}/{file}"), text);
        }
        self.link(&format!("bus/pci/devices/{address}"), &dir);
        if let Some(driver) = driver {
            let at = format!("bus/pci/drivers/{driver}");
            fs::create_dir_all(self.sys(&at)).expect("a directory");
            self.link(&format!("{dir}/driver"), &at);
        }
    }

    /// The kernel's disk of the controller.
    pub fn nvme0n1(&self) {
        let controller = self.nvme0();
        self.disk("nvme0n1", &controller, "nvme0n1", "259:0");
    }

    /// The same, with the disk apart from its path, as `nvme_core.multipath` has it.
    pub fn multipath(&self) {
        let controller = self.nvme0();
        let subsystem = "devices/virtual/nvme-subsystem/nvme-subsys0";
        self.write(&format!("{subsystem}/model"), "Model of subsystem");
        self.link(&format!("{subsystem}/nvme0"), &controller);
        self.disk("nvme0c0n1", &controller, "nvme0c0n1", "259:7");
        self.disk("nvme0n1", subsystem, "nvme0n1", "259:0");
    }

    fn nvme0(&self) -> String {
        let controller = format!("{PORT}/{ADDRESS}/nvme/nvme0");
        self.write(&format!("{controller}/model"), "INTEL SSDPE2KX010T8       ");
        self.write(&format!("{controller}/serial"), "PHLJ0000  ");
        controller
    }

    /// A disk at `at` below `parent`, of 1 GiB.
    fn disk(&self, name: &str, parent: &str, at: &str, number: &str) {
        let dir = format!("{parent}/{at}");
        self.block(name, &dir, number);
        self.link(&format!("{dir}/device"), parent);
    }

    pub fn partition(&self, disk: &str, name: &str, number: &str) {
        let link = fs::canonicalize(self.sys(&format!("class/block/{disk}"))).expect("a disk");
        let sys = fs::canonicalize(self.sys("")).expect("a directory");
        let dir = link.strip_prefix(sys).expect("it is below").join(name);
        let dir = dir.to_str().expect("text").to_owned();
        self.block(name, &dir, number);
        self.write(&format!("{dir}/partition"), "1");
    }

    /// A device of the mapper, or an array, on top of another.
    pub fn holder(&self, name: &str, number: &str, of: &str) {
        let dir = format!("devices/virtual/block/{name}");
        self.block(name, &dir, number);
        if name.starts_with("dm") {
            self.write(&format!("{dir}/dm/name"), "vg-home");
        }
        self.link(&format!("class/block/{of}/holders/{name}"), &dir);
    }

    /// A loop device on a file.
    pub fn looped(&self, file: &Path) {
        self.block("loop0", "devices/virtual/block/loop0", "7:0");
        let backing = file.to_str().expect("text");
        self.write("devices/virtual/block/loop0/loop/backing_file", backing);
    }

    pub fn btrfs(&self, disk: &str) {
        let id = "fs/btrfs/00000000-1111-2222-3333-444444444444";
        self.link(
            &format!("{id}/devices/{disk}"),
            &format!("class/block/{disk}"),
        );
    }

    pub fn mount(&mut self, number: &str, point: &str, kind: &str, source: &str) {
        self.mountinfo += &format!(
            "90 27 {number} / {point} rw,noatime shared:5 master:1 - {kind} {source} rw,errors=continue\n"
        );
    }

    pub fn swap(&mut self, node: &str) {
        self.swaps += &format!("{node}                          partition\t1048572\t0\t-2\n");
    }

    /// A link below /dev.
    pub fn node(&self, link: &str, name: &str) {
        let link = self.root.join("dev").join(link);
        fs::create_dir_all(link.parent().expect("below /dev")).expect("a directory");
        symlink(self.root.join("dev").join(name), link).expect("a link");
    }

    /// An ordinary file.
    pub fn file(&self) -> PathBuf {
        let path = self.root.join("image");
        fs::write(&path, "").expect("a file");
        path
    }

    fn block(&self, name: &str, dir: &str, number: &str) {
        self.write(&format!("{dir}/dev"), number);
        self.write(&format!("{dir}/size"), "2097152");
        fs::create_dir_all(self.sys(&format!("{dir}/holders"))).expect("a directory");
        self.link(&format!("class/block/{name}"), dir);
        let dev = self.root.join("dev");
        fs::create_dir_all(&dev).expect("a directory");
        fs::write(dev.join(name), "").expect("a node");
    }

    fn sys(&self, path: &str) -> PathBuf {
        self.root.join("sys").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.sys(path);
        fs::create_dir_all(path.parent().expect("below sys")).expect("a directory");
        fs::write(path, format!("{text}\n")).expect("a file");
    }

    /// A link, relative as the kernel's are.
    fn link(&self, at: &str, to: &str) {
        let at = self.sys(at);
        let parent = at.parent().expect("below sys");
        fs::create_dir_all(parent).expect("a directory");
        let parent = fs::canonicalize(parent).expect("a directory");
        let sys = fs::canonicalize(self.sys("")).expect("a directory");
        let depth = parent
            .strip_prefix(&sys)
            .expect("below sys")
            .components()
            .count();
        let up = "../".repeat(depth);
        symlink(format!("{up}{to}"), at).expect("a link");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A directory of our own.
        let _ = fs::remove_dir_all(&self.root);
    }
}
