# Figures → an SVG: one row a command, bars of the medians, by case, as root on cgroup v2 (or whatever comes first).
def colours: {floor: "#9aa5b1", kiste: "#0b7a75", bwrap: "#b8860b", crun: "#c8553d", youki: "#7d5ba6", runc: "#4a6fa5"};
def titles: {
    run: "run true", docker: "run true, Docker's seccomp profile", lifecycle: "create, start, delete", exec: "exec true",
    host: "run -- true (the host's programs)"
};
def case_order: {run: 0, docker: 1, lifecycle: 2, exec: 3, host: 4};
def environments: {
    "root-v2": "as root, cgroup v2", "root-hybrid": "as root, hybrid cgroups",
    "user-v2": "as a plain user, cgroup v2", "user-hybrid": "as a plain user, hybrid cgroups"
};
def escaped: gsub("&"; "&amp;") | gsub("<"; "&lt;");
def text($x; $y; $more): "<text x=\"\($x)\" y=\"\($y)\"\($more)>\(escaped)</text>";
. as $all
| (([.groups[].environment] | unique) as $there | ["root-v2", "root-hybrid", "user-v2", "user-hybrid"] | map(select(. as $e | $there | index($e)))[0]) as $environment
| [.groups[] | select(.environment == $environment)] | sort_by(case_order[.case]) as $groups
| ([$groups[].commands[].median] | max) as $longest
| 640 as $width | 110 as $left | 400 as $room
| ($groups | map(30 + 20 * (.commands | length)) | add + 96) as $height
| "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \($width) \($height)\" width=\"\($width)\" height=\"\($height)\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#1f2933\">",
  "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
  ("Time to start and end a container, \(environments[$environment])" | text(16; 26; " font-size=\"15\" font-weight=\"bold\"")),
  ("median in milliseconds; × floor: how many times the bare system calls of the same container" | text(16; 44; " fill=\"#52606d\"")),
  (foreach $groups[] as $group ({y: 62, next: 62};
      .y = .next | .next = .y + 30 + 20 * ($group.commands | length);
      . as $at
      | ($group.case | titles[.] // . | text(16; $at.y + 14; " font-weight=\"bold\"")),
        ($group.commands | to_entries[]
          | ($at.y + 22 + 20 * .key) as $y | (.value.median / $longest * $room) as $bar
          | (.value.name | text($left - 8; $y + 12; " text-anchor=\"end\"")),
            "<rect x=\"\($left)\" y=\"\($y)\" width=\"\($bar * 10 | round / 10)\" height=\"15\" rx=\"2\" fill=\"\(colours[.value.name] // "#777777")\"/>",
            ("\(.value.median * 100 | round / 100) ms"
              + (if .value.of_floor != null and .value.name != "floor" then "  \(.value.of_floor * 100 | round / 100)× floor"
                 elif .value.of_kiste != null and .value.name != "kiste" and .value.name != "floor" then "  \(.value.of_kiste * 100 | round / 100)× kiste" else "" end)
              | text($left + $bar + 6; $y + 12; " fill=\"#52606d\""))))),
  ("\($all.about.date) · \($all.about.machine) · \($all.about.kernel)" | text(16; $height - 12; " font-size=\"10\" fill=\"#7b8794\"")),
  "</svg>"
