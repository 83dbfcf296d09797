//! A plan for people and programs, and a failed step as a sentence: the same words and the same step numbers.

use serde::Serialize;

pub use super::failure::failure;
use super::{Barrier, Operation as Op, OwnImage, Plan, describe};

/// One line of an explained plan.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// `parent` or `child`.
    pub who: &'static str,
    /// A to F for the parent, the chapter's name for the child.
    pub stage: String,
    /// The child's step number, as errors give it.
    pub step: Option<usize>,
    /// What is done.
    pub what: String,
    /// The place in the input that asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The plan line by line, in the order in which it is carried out.
pub fn lines(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::with_capacity(plan.child.len() + plan.opens.len() + 16);
    let origin = |index: u16| plan.origin(index).map(ToString::to_string);
    let parent = |stage: &str, what: String, origin: Option<String>| Line {
        who: "parent",
        stage: stage.to_owned(),
        step: None,
        what,
        origin,
    };
    for (open, place) in &plan.opens {
        lines.push(parent("A", describe::open(open), origin(*place)));
    }
    if let Some((request, place)) = &plan.resctrl {
        lines.extend(request.steps().into_iter().map(|step| parent("B", step, origin(*place))));
    }
    let late = plan.cgroup.as_ref().and_then(|cgroup| cgroup.device_program()).map(|devices| devices.step());
    for step in plan.cgroup.iter().flat_map(|cgroup| cgroup.steps()).filter(|step| Some(step) != late.as_ref()) {
        let place = Some(step.origin.to_string()).filter(|place| !place.is_empty());
        lines.push(parent("B", step.text, place));
    }
    match plan.own_image {
        OwnImage::Unreachable | OwnImage::Reopened => {}
        OwnImage::ByParent => lines.push(parent("C", "let go of kiste's own executable".to_owned(), None)),
        OwnImage::ByChild => lines.push(parent("C", "move kiste's image into anonymous memory".to_owned(), None)),
    }
    for line in made(plan) {
        lines.push(parent("C", line, None));
    }
    // While the child goes its own way.
    lines.extend(late.map(|step| parent("C", step.text, Some(step.origin.to_string()))));
    for (barrier, steps) in &plan.barriers {
        let stage = if *barrier == Barrier::Identity { "D" } else { "E" };
        for (step, place) in steps {
            lines.push(parent(stage, describe::parent_step(plan, step), origin(*place)));
        }
    }
    if plan.child.iter().any(|step| step.operation == Op::Ready) {
        lines.push(parent("F", "record the container, write the pid file".to_owned(), None));
    }
    for (index, step) in plan.child.iter().enumerate() {
        lines.push(Line {
            who: "child",
            stage: format!("{:?}", step.stage).to_lowercase(),
            step: Some(index + 1),
            what: describe::operation(plan, step.operation),
            origin: origin(step.origin),
        });
    }
    lines
}

/// How the child is made.
fn made(plan: &Plan) -> Vec<String> {
    let all = |stays: &[(super::Slot, u64)]| stays.iter().fold(0, |all, (_, flags)| all | flags);
    let mut lines = Vec::new();
    if let Some((mask, _)) = plan.own_processors {
        lines.push(format!("run on processors {} itself", describe::numbers(plan.arena.get(mask))));
    }
    if !plan.born_in.is_empty() {
        lines.push(format!("join {} for its children, back after clone3", describe::counted(all(&plan.born_in))));
    }
    if let Some((score, _)) = plan.inherited_score {
        lines.push(format!("first stage: clone3, write {score} to /proc/self/oom_score_adj"));
    }
    if !plan.first_stage.is_empty() {
        let joined = describe::counted(all(&plan.first_stage));
        lines.push(format!("first stage: become non-dumpable, join {joined}, make the child as its sibling"));
    }
    lines.push(match plan.clone_flags {
        0 if plan.born_in_its_group => "clone3 into the container's cgroup".to_owned(),
        0 => "clone3".to_owned(),
        flags => format!("clone3 with new {}", describe::counted(flags)),
    });
    lines
}

/// The plan as a table.
pub fn text(plan: &Plan) -> String {
    let mut result = String::new();
    for line in lines(plan) {
        let step = line.step.map_or(String::new(), |step| step.to_string());
        let place = line.origin.map_or(String::new(), |origin| format!("   {origin}"));
        result.push_str(&format!("{:<6} {:<10} {:>3}  {}{}\n", line.who, line.stage, step, line.what, place));
    }
    for warning in &plan.warnings {
        result.push_str(&format!("note: {warning}\n"));
    }
    result
}

/// The plan as JSON: `{"steps": […], "warnings": […]}`.
pub fn json(plan: &Plan) -> String {
    let value = serde_json::json!({ "steps": lines(plan), "warnings": plan.warnings });
    // A tree of strings and numbers always prints.
    serde_json::to_string_pretty(&value).unwrap_or_default()
}
