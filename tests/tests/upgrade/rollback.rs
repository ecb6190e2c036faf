//! `nke rollback`: back to the version before.

use nke_tests::{Hook, Stream, World};

use crate::{attach, here, object, refused, seen, standing, upgrade};

#[test]
fn it_is_one_step_back_under_traffic() {
    let world = World::new();
    let id = attach(&world, &object(1), "interface/xdp", &here(&world));
    let first = standing(&world);
    let stream = Stream::inward(&world);
    stream.wait(40);
    upgrade(&world, &object(2));
    stream.wait(40);
    let ran = world.nke(&["rollback", "versions"]).ok();
    assert!(
        ran.stdout
            .starts_with("rolled back versions from 2.0.0 to 1.0.0 (kmid "),
        "{ran:?}"
    );
    stream.wait(40);
    let report = stream.stop();
    assert_eq!(report.lost, [] as [u64; 0]);
    assert_eq!(report.trails.len(), 2, "{:?}", report.trails);
    assert_eq!(seen(&world).iter().sum::<u64>(), report.sent);
    let chain = world.chain(Hook::Xdp).expect("the chain is there");
    assert_eq!(u64::from(chain.nodes[0].id), id);
    // The very same extension, by its kmid too; only the node is another.
    assert_eq!(standing(&world).list, first.list);
    assert_eq!(standing(&world).tree.len(), first.tree.len());
    let error = refused(&world, &["rollback", "versions"]);
    assert_eq!(
        error,
        "nke: versions: roll back: there is no version before this one; `nke upgrade` brings one\n"
    );
}

#[test]
fn only_the_last_version_is_kept() {
    let world = World::new();
    attach(&world, &object(1), "interface/xdp", &here(&world));
    for id in 2..=4 {
        upgrade(&world, &object(id));
    }
    world.nke(&["rollback", "versions"]).ok();
    world.assert_trail(Hook::Xdp, &[3]);
    refused(&world, &["rollback", "versions"]);
    upgrade(&world, &object(4));
    world.assert_trail(Hook::Xdp, &[4]);
}

#[test]
fn what_is_unloaded_leaves_nothing_of_the_version_before() {
    let world = World::new();
    let id = attach(&world, &object(1), "interface/xdp", &here(&world));
    let objects = world.objects();
    upgrade(&world, &object(2));
    let mut all = world.objects();
    all.extend(&objects);
    world.nke(&["detach", &id.to_string()]).ok();
    all.assert_gone();
    assert!(!world.is_mounted());
}
