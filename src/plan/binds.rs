//! The plan's mount map: what the container has of the host, tree by tree. Checkpoint and restore need it, whose mounts
//! are made by CRIU instead of the child.

use super::{Open, Operation, ParentStep, Plan, Slot};
use crate::kernel::abi::MountAttr;

/// A bind of something of the host, opened by the parent and attached by the child.
#[derive(Clone, Debug, PartialEq)]
pub struct Bind<'a> {
    /// Its tree.
    pub tree: Slot,
    /// Its destination below the root, as the input has it.
    pub path: String,
    /// Attributes in the order they are set; for the whole tree if so marked.
    pub attributes: Vec<(MountAttr, bool)>,
    /// The parent's step that idmaps it.
    pub idmap: Option<&'a ParentStep>,
}

impl Plan {
    /// All binds, in the order of their opening.
    pub fn binds(&self) -> Vec<Bind<'_>> {
        self.opens
            .iter()
            .filter_map(|(open, _)| match open {
                Open::Tree { into, .. } => Some(Bind {
                    tree: *into,
                    path: self.destination(*into)?,
                    attributes: self.attributes_of(*into),
                    idmap: self.idmap_of(*into),
                }),
                _ => None,
            })
            .collect()
    }

    /// The root's tree, if the parent opens it.
    pub fn root_tree(&self) -> Option<Slot> {
        self.child.iter().find_map(|step| match step.operation {
            Operation::EnterRoot { tree, .. } => Some(tree),
            _ => None,
        })
    }

    /// Where a tree is attached; the root is not.
    fn destination(&self, wanted: Slot) -> Option<String> {
        let target = self.child.iter().find_map(|step| match step.operation {
            Operation::Attach { tree, target } if tree == wanted => Some(target),
            _ => None,
        })?;
        self.child.iter().find_map(|step| match step.operation {
            Operation::Ensure { path, into, .. } if into == target => Some(self.arena.show(path)),
            _ => None,
        })
    }

    /// Attributes the child gives a tree, in order.
    pub fn attributes_of(&self, wanted: Slot) -> Vec<(MountAttr, bool)> {
        let attributes = |step: &super::Step| match step.operation {
            Operation::SetAttributes { tree, attributes, recursive } if tree == wanted => {
                self.arena.attributes.get(attributes as usize).map(|found| (*found, recursive))
            }
            _ => None,
        };
        self.child.iter().filter_map(attributes).collect()
    }

    fn idmap_of(&self, wanted: Slot) -> Option<&ParentStep> {
        let steps = self.barriers.iter().flat_map(|(_, steps)| steps);
        steps.map(|(step, _)| step).find(|step| matches!(step, ParentStep::Idmap { tree, .. } if *tree == wanted))
    }
}
