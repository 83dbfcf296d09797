//! `mounts`: other mounts for a container that runs.

use super::{CommandRow, Contract, Count, ID, Operand};

pub const MOUNTS: CommandRow = CommandRow {
    name: "mounts",
    about: "Add mounts to a running container, or remove them",
    description: "FILE is a JSON list of mounts as `mounts` in config.json has them, with all their options. `add` \
                  attaches them in the running container: all or, if one is refused, none. Sources are the host's, \
                  destinations lie in the container and are made if missing. `remove` takes away what `add` has \
                  mounted at each destination, from the list's end; other members are not looked at. What the \
                  configuration mounts or hides is never removed (crun removes whatever is mounted there), and neither \
                  is what the container itself has mounted over it. Control group file systems can't be added.",
    options: &[],
    operands: &[
        Operand::new("ACTION", Count::One, "add or remove"),
        ID,
        Operand::new("FILE", Count::One, "The list of mounts"),
    ],
    ends_at_operand: false,
    examples: &[
        ("kiste mounts add web data.json", "Attach the mounts of the list in the container web."),
        ("kiste mounts remove web data.json", "Take the same mounts away again."),
    ],
    contract: Contract::Crun,
};
