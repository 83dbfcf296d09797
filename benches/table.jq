# Figures → a page in Markdown.
def fixed($digits): if . == null then "" else (. * pow(10; $digits) | round) as $n
    | ($n / pow(10; $digits) | floor | tostring)
      + "." + (($n % pow(10; $digits)) | tostring | (if $digits > length then ("0" * ($digits - length)) else "" end) + .) end;
def cases: {
    run: "`run` of the default bundle (`true`)", docker: "`run` with Docker's seccomp profile",
    lifecycle: "`create`, `start`, end, `delete`", exec: "`exec true` in a running container",
    host: "`run -- true`, made of the host's programs"
};
def order: {"root-v2": 0, "root-hybrid": 1, "user-v2": 2, "user-hybrid": 3};
def case_order: {run: 0, docker: 1, lifecycle: 2, exec: 3, host: 4};
def environments: {
    "root-v2": "root, cgroup v2", "root-hybrid": "root, hybrid cgroups (v1 controllers)",
    "user-v2": "plain user, cgroup v2", "user-hybrid": "plain user, hybrid cgroups"
};
def summary:
    (.groups | map(select(.environment == "root-v2"))) as $groups
    | (["floor", "kiste", "crun", "youki", "runc", "bwrap"] | map(select(. as $name | $groups | any(.[].commands[]; .name == $name)))) as $names
    | "| " + ($names | map("| " + if . == "kiste" then "**kiste**" else . end + " ") | add) + "|",
      "|---" + ($names | map("|--:") | add) + "|",
      ($groups | sort_by(case_order[.case])[] | . as $group
        | "| \(cases[.case]) " + ($names | map(. as $name | [$group.commands[] | select(.name == $name)][0]
            | "| " + if . == null then "" else (.median | fixed(2)) + (if $name == "kiste" or .of_kiste == null then "" else " (\(.of_kiste | fixed(2))×)" end) + " " end) | add) + "|"),
      "",
      "Milliseconds, median of \([$groups[].commands[].runs] | min) runs, root, cgroup v2; in brackets, how many times kiste's. "
        + "\(.about.date), \(.about.machine), \(.about.kernel), `\(.about.command)`.";

def page:
"# Start-up times",
"",
"- \(.about.date), `\(.about.command)`",
"- \(.about.machine), \(.about.kernel), load before: \(.about.load)",
"- " + (.about.versions | to_entries | map("\(.key) \(.value | ltrimstr("kiste "))") | join("; ")) + "; hyperfine \(.about.hyperfine)",
"",
"Times are milliseconds, ratios medians over the rounds (benches/run --help). *floor*: a static C program that makes the same",
"container with the bare system calls (benches/floor.c); of `create`, `start`, `delete` it is that of `run`.",
(.groups | group_by(.environment) | sort_by(order[.[0].environment]) | .[] | (
    "", "## \(environments[.[0].environment] // .[0].environment)", "",
    "| | | median | 10 % | 90 % | × floor | × kiste | runs |", "|---|---|--:|--:|--:|--:|--:|--:|",
    (sort_by(case_order[.case])[] | .case as $case | .commands | to_entries[]
        | "| \(if .key == 0 then cases[$case] else "" end) | \(if .value.name == "kiste" then "**kiste**" else .value.name end) | "
          + "\(.value.median | fixed(2)) | \(.value.p10 | fixed(2)) | \(.value.p90 | fixed(2)) | "
          + "\(.value.of_floor | fixed(2)) | \(.value.of_kiste | fixed(2)) | \(.value.runs) |")));

if $ARGS.named.form == "summary" then summary else page end
