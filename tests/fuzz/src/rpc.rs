//! Calls of the controller: any bytes as the message of any RPC, by whoever there is, go through the
//! table of permissions, the conversion and the use case to a real database.
//!
//! No message is an error of the controller's, and nobody is answered who may not ask.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use controller::hostile::{Fleet, RPCS};
use controller::{Requirement, requirement};
use tempfile::TempDir;
use tonic::Code;

/// After so many calls there is another controller, so that what they have left does not grow.
const CALLS_MAX: usize = 4_000;
/// Calls of one input.
const STEPS_MAX: usize = 6;
/// Nobody in particular, as [`Fleet::call`] counts.
const STRANGER: usize = 0;

struct Scene {
    /// Left to the end of the process when its thread ends: a runtime cannot be stopped then.
    fleet: ManuallyDrop<Fleet>,
    calls: usize,
    dir: TempDir,
}

thread_local! {
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new_in(crate::scene::memory()).expect("a folder");
        Self {
            fleet: ManuallyDrop::new(Fleet::begin(dir.path())),
            calls: 0,
            dir,
        }
    }

    fn end(self) {
        let Self { fleet, dir, .. } = self;
        drop(ManuallyDrop::into_inner(fleet));
        drop(dir);
    }
}

pub(crate) fn check(bytes: &[u8]) {
    SCENE.with_borrow_mut(|scene| {
        if let Some(old) = scene.take_if(|it| it.calls > CALLS_MAX) {
            old.end();
        }
        let scene = scene.get_or_insert_with(Scene::new);
        let mut rest = bytes;
        for _ in 0..STEPS_MAX {
            let Some(([who, rpc, high, low], behind)) = rest.split_first_chunk() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
            let (message, behind) = behind.split_at(length);
            rest = behind;
            scene.calls += 1;
            call(&mut scene.fleet, (*who).into(), (*rpc).into(), message);
        }
        scene.fleet.rest();
    });
}

fn call(fleet: &mut Fleet, who: usize, rpc: usize, message: &[u8]) {
    let (who, rpc) = (who % fleet.callers(), rpc % RPCS.len());
    let answered = fleet.call(who, rpc, message);
    let path = RPCS[rpc];
    let is_open = requirement(path) == Some(Requirement::Nothing);
    match answered.code {
        // What is no message is refused so by the library that decodes.
        Some(Code::Internal) => assert!(
            answered.message.starts_with("failed to decode"),
            "{path}: {answered:?}"
        ),
        Some(Code::Unknown | Code::DataLoss) => panic!("{path}: {answered:?}"),
        Some(Code::Unauthenticated) => {}
        _ => assert!(is_open || who != STRANGER, "{path}: {answered:?}"),
    }
}
