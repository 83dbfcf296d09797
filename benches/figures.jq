# Rounds of times in seconds → figures in milliseconds, and ratios as the median over the rounds of the ratio of the round's
# medians: what disturbs a round disturbs all its commands.
def percentile($p): sort | .[((length - 1) * $p | round)];
def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def rounded: . * 1000 | round / 1000;
def names: ["floor", "kiste", "bwrap", "crun", "youki", "runc"];
{
    about,
    groups: (.rounds | group_by([.environment, .case]) | map(
        . as $rounds
        | def medians($name): [$rounds[] | [.commands[] | select(.name == $name) | .times | median] | .[0]];
        def ratio($one; $other): medians($one) as $ones | medians($other) as $others
            | if $ones[0] == null or $others[0] == null then null
              else [range($ones | length) | $ones[.] / $others[.]] | median | rounded end;
        {
            environment: .[0].environment,
            case: .[0].case,
            commands: [
                names[] as $name
                | [$rounds[].commands[] | select(.name == $name) | .times[]] | select(length > 0)
                | {name: $name, runs: length, median: (median * 1000 | rounded), p10: (percentile(0.1) * 1000 | rounded),
                   p90: (percentile(0.9) * 1000 | rounded), of_floor: ratio($name; "floor"), of_kiste: ratio($name; "kiste")}
            ]
        }))
}
