//! What a run must not erase: devices in use, on trees that are laid out as a kernel's sysfs, and on a target.

mod tree;

use real::hardware::{Known, Machine, PciAddress};
use serde_json::{Value, json};

use tree::{ADDRESS, Tree};

fn address(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

/// What is said of the controller of a tree that is refused.
fn refused(tree: &Tree) -> String {
    let said = tree.machine().device(&address(ADDRESS));
    said.expect_err("it is in use").to_string()
}

fn free(tree: &Tree) -> String {
    let said = tree.machine().device(&address(ADDRESS));
    said.expect("nobody uses it").to_string()
}

#[test]
fn what_is_left_to_user_space_or_is_not_here_may_be_erased() {
    for driver in ["vfio-pci", "uio_pci_generic", "igb_uio"] {
        let said = free(&Tree::new(Some(driver)));
        let expected =
            format!("0000:01:00.0: NVMe controller, vendor 0x8086, device 0x0a54, {driver}");
        assert_eq!(said, expected);
    }
    assert!(free(&Tree::new(None)).ends_with(", no driver"));
    let tree = Tree::new(Some("nvme"));
    let said = tree.machine().device(&address("0000:02:00.0"));
    let said = said.expect("it is not there").to_string();
    assert!(said.contains("no device of this machine"), "{said}");
}

#[test]
fn what_the_kernel_has_is_refused_though_nobody_uses_it() {
    let tree = Tree::new(Some("nvme"));
    assert!(refused(&tree).contains("the kernel's driver nvme has it; "));
    tree.nvme0n1();
    assert_eq!(
        refused(&tree),
        "0000:01:00.0: the kernel's driver nvme has it, as /dev/nvme0n1 (INTEL SSDPE2KX010T8, \
         serial number PHLJ0000, 1 GiB); it is not touched\n  \
         = expected one that is left to user space: PCI_ALLOWED=0000:01:00.0 scripts/setup.sh of SPDK does that"
    );
}

#[test]
fn what_is_no_nvme_controller_is_refused() {
    let tree = Tree::new(None);
    tree.pci("0000:01:00.1", "0x020000", Some("vfio-pci"));
    let said = tree.machine().device(&address("0000:01:00.1"));
    assert_eq!(tree.machine().controllers(), [address(ADDRESS)]);
    let said = said.expect_err("it is a network card").to_string();
    assert!(
        said.contains("no NVMe controller: its class is 0x020000"),
        "{said}"
    );
}

#[test]
fn a_disk_that_is_mounted_is_refused_with_the_place() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.mount("259:0", "/mnt/my\\040data", "xfs", "/dev/nvme0n1");
    let said = refused(&tree);
    assert!(
        said.starts_with("0000:01:00.0: /dev/nvme0n1 (INTEL"),
        "{said}"
    );
    assert!(
        said.contains("/dev/nvme0n1 is mounted at /mnt/my data; "),
        "{said}"
    );
    assert!(said.ends_with("umount /mnt/my data"), "{said}");
}

#[test]
fn a_partition_that_is_mounted_is_refused_with_its_name() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.partition("nvme0n1", "nvme0n1p1", "259:1");
    tree.partition("nvme0n1", "nvme0n1p2", "259:2");
    tree.mount("259:2", "/srv", "ext4", "/dev/nvme0n1p2");
    assert!(refused(&tree).contains("/dev/nvme0n1p2 is mounted at /srv"));
}

#[test]
fn what_the_machine_runs_from_is_refused_first_and_for_good() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.partition("nvme0n1", "nvme0n1p1", "259:1");
    tree.partition("nvme0n1", "nvme0n1p2", "259:2");
    tree.holder("dm-0", "254:0", "nvme0n1p2");
    tree.mount("259:1", "/srv", "ext4", "/dev/nvme0n1p1");
    tree.mount("254:0", "/", "ext4", "/dev/mapper/vg-home");
    let said = refused(&tree);
    assert!(
        said.contains("this machine runs from it: /dev/dm-0 is mounted at /;"),
        "{said}"
    );
    assert!(said.ends_with("expected another device"), "{said}");
}

#[test]
fn a_file_system_without_a_device_number_is_known_by_its_source() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.holder("dm-0", "254:0", "nvme0n1");
    tree.node("mapper/vg-home", "dm-0");
    tree.mount("0:44", "/home", "btrfs", "/dev/mapper/vg-home");
    assert!(refused(&tree).contains("/dev/dm-0 is mounted at /home"));
}

#[test]
fn a_further_device_of_a_btrfs_is_refused() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.mount("0:44", "/home", "btrfs", "/dev/sdb");
    tree.btrfs("nvme0n1");
    let said = refused(&tree);
    assert!(
        said.contains("part of the mounted btrfs 00000000-1111"),
        "{said}"
    );
}

#[test]
fn swap_space_is_refused() {
    let mut tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.partition("nvme0n1", "nvme0n1p3", "259:3");
    tree.swap("/dev/nvme0n1p3");
    let said = refused(&tree);
    assert!(said.contains("/dev/nvme0n1p3 is swap space"), "{said}");
    assert!(said.ends_with("swapoff /dev/nvme0n1p3"), "{said}");
}

#[test]
fn a_part_of_an_array_or_a_volume_is_refused_with_what_holds_it() {
    let tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.holder("md127", "9:127", "nvme0n1");
    assert!(refused(&tree).contains("/dev/nvme0n1 is part of /dev/md127; "));
    let tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.partition("nvme0n1", "nvme0n1p1", "259:1");
    tree.holder("dm-3", "254:3", "nvme0n1p1");
    let said = refused(&tree);
    assert!(
        said.contains("/dev/nvme0n1p1 is part of /dev/dm-3 (vg-home)"),
        "{said}"
    );
}

#[test]
fn a_disk_with_partitions_is_refused_though_nobody_uses_them() {
    let tree = Tree::new(Some("nvme"));
    tree.nvme0n1();
    tree.partition("nvme0n1", "nvme0n1p1", "259:1");
    tree.partition("nvme0n1", "nvme0n1p2", "259:2");
    let said = refused(&tree);
    assert!(
        said.contains("it has partitions: nvme0n1p1, nvme0n1p2; "),
        "{said}"
    );
    assert!(said.ends_with("wipefs -a /dev/nvme0n1"), "{said}");
}

#[test]
fn a_disk_apart_from_its_path_is_found() {
    let mut tree = Tree::new(Some("nvme"));
    tree.multipath();
    let said = refused(&tree);
    assert!(
        said.contains("has it, as /dev/nvme0n1 (Model of subsystem, 1 GiB);"),
        "{said}"
    );
    tree.partition("nvme0n1", "nvme0n1p1", "259:1");
    assert!(refused(&tree).contains("it has partitions: nvme0n1p1"));
    tree.mount("259:1", "/data", "ext4", "/dev/nvme0n1p1");
    assert!(refused(&tree).contains("/dev/nvme0n1p1 is mounted at /data"));
}

fn bdev(name: &str, kind: &Value) -> Value {
    json!({"name": name, "aliases": [format!("alias of {name}")], "product_name": "Disk", "claimed": false,
           "block_size": 512, "num_blocks": 2048, "driver_specific": kind})
}

fn known(bdevs: &[Value]) -> Known {
    Known {
        bdevs: json!(bdevs),
        users: Vec::new(),
    }
}

/// What is said of the bdev Top of a target with these.
fn of_top(tree: &Tree, bdevs: &[Value]) -> Result<String, String> {
    let said = tree.machine().bdev("Top", &known(bdevs));
    said.map(|erased| erased.to_string())
        .map_err(|refused| refused.to_string())
}

#[test]
fn a_bdev_on_a_disk_of_this_machine_is_what_the_disk_is() {
    let mut tree = Tree::new(None);
    for kind in ["aio", "uring"] {
        let on = |file: &str| {
            let kind = json!({kind: {"filename": file}});
            of_top(&tree, &[bdev("Top", &kind)])
        };
        let said = on("/dev/sda").expect_err("the machine runs from it");
        assert!(
            said.starts_with("Top: /dev/sda (1 GiB): this machine runs from it"),
            "{said}"
        );
        let said = on("/dev/sda1").expect_err("the machine runs from it");
        assert!(said.contains("/dev/sda1 is mounted at /"), "{said}");
        let said = on("/nowhere/image").expect_err("nobody can look");
        assert!(said.contains("nobody can say who uses that"), "{said}");
    }
    tree.mountinfo.clear();
    let aio = |file: &str| bdev("Top", &json!({"aio": {"filename": file}}));
    let said = of_top(&tree, &[aio("/dev/sda")]).expect_err("it has partitions");
    assert!(said.contains("it has partitions: sda1"), "{said}");
    assert_eq!(
        of_top(&tree, &[aio("/dev/sda1")]),
        Ok("Top: Disk, 1 MiB, /dev/sda1".to_owned())
    );
    tree.node("disk/by-id/ata-1", "sda");
    let said = of_top(&tree, &[aio("/dev/disk/by-id/ata-1")]).expect_err("it has partitions");
    assert!(said.contains("it has partitions: sda1"), "{said}");
}

#[test]
fn a_bdev_on_a_file_is_free_but_behind_a_loop_device() {
    let tree = Tree::new(None);
    let file = tree.file();
    let bdevs = [bdev("Top", &json!({"aio": {"filename": file}}))];
    assert!(of_top(&tree, &bdevs).is_ok());
    tree.looped(&file);
    let said = of_top(&tree, &bdevs).expect_err("it is used");
    assert!(said.contains("is behind /dev/loop0; "), "{said}");
}

#[test]
fn what_is_under_a_bdev_is_looked_at_too() {
    let tree = Tree::new(None);
    let top = bdev(
        "Top",
        &json!({"split": {"base_bdev": "alias of Middle", "offset_blocks": 0}}),
    );
    let middle = bdev(
        "Middle",
        &json!({"lvol": {"base_bdev": "Bottom", "lvol_store_uuid": "Top"}}),
    );
    let bottom = bdev("Bottom", &json!({"aio": {"filename": "/dev/sda"}}));
    assert!(of_top(&tree, &[top.clone(), middle.clone()]).is_ok());
    let said = of_top(&tree, &[top, middle, bottom]).expect_err("the machine runs from it");
    assert!(said.contains("/dev/sda1 is mounted at /"), "{said}");
}

#[test]
fn an_nvme_bdev_is_what_its_controller_is() {
    let specific = json!({"nvme": [{"pci_address": ADDRESS, "ctrlr_data": {"model_number": "M ", "serial_number": "S"}}]});
    let bdevs = [bdev("Top", &specific)];
    let tree = Tree::new(Some("vfio-pci"));
    let said = of_top(&tree, &bdevs).expect("it is free");
    assert!(
        said.starts_with("Top: Disk, 1 MiB") && said.contains("serial number S"),
        "{said}"
    );
    let tree = Tree::new(Some("nvme"));
    let said = of_top(&tree, &bdevs).expect_err("the kernel has it");
    assert!(
        said.starts_with("Top: 0000:01:00.0: the kernel's driver nvme has it"),
        "{said}"
    );
    let said = tree.machine().attached(&address(ADDRESS), &known(&bdevs));
    let said = said.expect_err("a bdev has it").to_string();
    assert!(
        said.contains("the target has it already, as Top; "),
        "{said}"
    );
}

#[test]
fn a_bdev_that_is_claimed_or_not_there_is_refused() {
    let tree = Tree::new(None);
    let said = of_top(&tree, &[]).expect_err("it is not there");
    assert!(
        said.starts_with("Top: the target has no such bdev"),
        "{said}"
    );
    let mut top = bdev("Top", &json!({}));
    assert!(of_top(&tree, &[top.clone()]).is_ok());
    let users = [
        json!([{"ctrlr": "vhost.0", "backend_specific": {"scsi": [{"luns": [{"id": 0, "bdev_name": "Top"}]}]}}]),
        json!([{"ctrlr": "Top", "backend_specific": {"block": {"readonly": false, "bdev": "Other"}}}]),
        json!([{"ctrlr": "vhost.1", "backend_specific": {"block": {"readonly": false, "bdev": "Top"}}}]),
        json!([{"nbd_device": "/dev/nbd0", "bdev_name": "Top"}]),
        json!([{"ublk_device": "/dev/ublkb1", "id": 1, "bdev_name": "Other"}]),
    ];
    let used = users.map(|user| {
        let bdevs = known(&[top.clone()]);
        let users = vec![user];
        let said = tree
            .machine()
            .bdev("alias of Top", &Known { users, ..bdevs });
        said.is_err_and(|refused| refused.why == "a controller of the target has it")
    });
    assert_eq!(used, [true, false, true, true, false]);
    top["claimed"] = json!(true);
    let said = of_top(&tree, &[top]).expect_err("it is claimed");
    assert!(
        said.contains("somebody on the target has claimed it"),
        "{said}"
    );
}

#[test]
fn an_address_is_read_in_full_only() {
    for text in ["0000:01:00.0", "10000:e1:1f.7", "00ff:ff:00.0"] {
        let read: Result<PciAddress, String> = text.parse();
        assert_eq!(read.map(|address| address.to_string()), Ok(text.to_owned()));
    }
    for (text, why) in [
        ("01:00.0", "expected it in full, 0000:01:00.0"),
        ("0000:0A:00.0", "expected it in full, 0000:0a:00.0"),
        ("00000:01:00.0", "expected it in full, 0000:01:00.0"),
        ("0000:01:20.0", "expected a PCI address"),
        ("0000:01:00.8", "expected a PCI address"),
        ("0000:01:00", "expected a PCI address"),
        ("0000:+1:00.0", "expected a PCI address"),
        ("0000:01:00.0:0", "expected a PCI address"),
        ("../0000:01:00.0", "expected a PCI address"),
        ("", "expected a PCI address"),
    ] {
        let read: Result<PciAddress, String> = text.parse();
        let said = read.expect_err("it is none");
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
#[ignore = "needs a root file system on a block device"]
fn what_this_machine_runs_from_is_refused() {
    let text = std::fs::read_to_string("/proc/self/mountinfo").expect("it is Linux");
    let root = text
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"));
    let number = root
        .and_then(|line| line.split(' ').nth(2))
        .expect("a root");
    let link = std::fs::read_link(format!("/sys/dev/block/{number}")).expect("a block device");
    let name = link
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let file = format!("/dev/{name}");
    let bdevs = [bdev("Top", &json!({"aio": {"filename": file}}))];
    let said = Machine::this()
        .expect("it tells")
        .bdev("Top", &known(&bdevs));
    let said = said.expect_err("it is in use").to_string();
    assert!(said.contains("this machine runs from it"), "{said}");
}
