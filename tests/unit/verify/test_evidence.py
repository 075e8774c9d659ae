"""Evidence: what was captured, entered, answered and recorded is said in lines that fit a page, few of many."""

from lab.verify import experiment as ex
from lab.verify.evidence import evidence

_SEND = ex.Send(
    sender="web1", private="10.1.0.4", destination="198.51.100.10", port=80, count=9, watches=(ex.Watch("node", "far"),)
)


def _arrivals(arrived: int, sent: int = 9) -> ex.Arrivals:
    seen = tuple(ex.Seen(number, "40.1.2.3", 1024 + number, "198.51.100.10", 80) for number in range(arrived))
    ports = tuple(range(4000, 4000 + sent))
    return ex.Arrivals(
        sent=sent, source_ports=ports, control=True, seen=(seen,), strays=("icmp of 10.1.0.4",), seconds=0.1
    )


def test_a_packet_is_told_as_it_was_sent_and_as_it_was_captured() -> None:
    lines = evidence("web1", [_SEND], [_arrivals(1, sent=2)]).seen
    assert lines == (
        "tcp 10.1.0.4:4000 to 198.51.100.10:80: at node far 40.1.2.3:1024 to 198.51.100.10:80",
        "tcp 10.1.0.4:4001 to 198.51.100.10:80: nothing at node far",
        "beside it: icmp of 10.1.0.4",
    )


def test_an_entry_of_the_connection_table_is_told() -> None:
    tracked = ex.Tracked(before=(ex.Entry(4000, "40.1.2.3", 1024),), after=(), arrivals=_arrivals(0, sent=1))
    assert evidence("web1", [ex.Track(send=_SEND, network="vnet1")], [tracked]).seen[0] == (
        "connection table, before: 10.1.0.4:4000, replies come to 40.1.2.3:1024"
    )


def test_few_lines_of_many_are_kept_and_the_others_counted() -> None:
    found = evidence("web1", [_SEND] * 5, [_arrivals(9)] * 5)
    assert len(found.seen) == 4 * 7 + 1
    assert found.seen[6] == "… and 4 more"
    assert found.seen[-1] == "… and of 1 more experiments"
    long = ex.Executed(status=0, output="x" * 500, error="")
    assert max(map(len, evidence("web1", [_SEND], [long]).seen)) == 140


def test_commands_members_and_failures_are_told() -> None:
    asked: list[ex.Experiment] = [ex.Run(words=("vm", "stop", "{lab}", "web1"))]
    checked = ex.Checked(status=2, said="no VM\nsee", began=1.0, ended=2.0)
    assert evidence("a", asked, [checked]).seen == ("lab vm stop LAB web1: exit status 2", "no VM", "see")
    members = ex.Members(up=("x",), down={"y": "no answer"})
    assert evidence("a", [ex.Health()], [members]).seen == ("x: up", "y: down, no answer")
    assert evidence("a", [ex.Health()], [ex.Failed(reason="no")]).seen == ("reason: no",)
    reused = ex.Answers(answers=(ex.Answer("timeout"), ex.Answer("answered", "web1", "10.0.0.4", 4000)))
    assert evidence("a", [ex.Health()], [reused]).seen == ("timeout", "web1 answered, and saw 10.0.0.4:4000")


def _held(*steps: tuple[object, ex.Happened]) -> tuple[list[ex.Experiment], list[ex.Observation]]:
    asked = ex.HoldFlows(client="web1", private="10.1.0.4", network="vnet1", steps=tuple(step for step, _ in steps))  # type: ignore[arg-type,misc]
    return [asked], [ex.Occupied(steps=tuple(happened for _, happened in steps))]


def test_flows_that_open_and_end_make_a_plot_with_what_is_allocated() -> None:
    used = ex.Used(address="40.1.2.3", protocol="tcp", allocated=64, ports=3, flows=4, peak=4, refused=0)
    goal = (ex.Goal("198.51.100.10", 80, "tcp"),)
    found = evidence(
        "web1",
        *_held(
            (ex.Open(goals=goal, count=3), ex.Happened(began=0.0, answered=3, moments=(0.3, 0.1, 0.2))),
            (ex.Talk(), ex.Happened(began=0.5, answered=3, moments=(0.6, 0.6, 0.6))),
            (ex.ShowPorts(), ex.Happened(began=0.7, used=(used,))),
            (ex.End(count=4, how="fin"), ex.Happened(began=0.9)),
        ),
    )
    shown = [(sample.seconds, sample.used, sample.allocated) for sample in found.ports]
    assert shown == [(0.1, 1, 64), (0.2, 2, 64), (0.3, 3, 64), (0.5, 3, 64), (0.7, 4, 64), (0.9, 0, 64)]
    assert "0.70 s: lab ports: 40.1.2.3 tcp: 3 of 64 for 4 flows, peak 4, 0 refused" in found.seen


def test_a_plot_has_few_points_and_none_where_it_tells_nothing() -> None:
    goal = (ex.Goal("198.51.100.10", 80, "tcp"),)
    moments = tuple(number / 1000 for number in range(1, 2001))
    many = evidence("web1", *_held((ex.Open(goals=goal, count=2000), ex.Happened(answered=2000, moments=moments))))
    assert (len(many.ports) <= 49, many.ports[-1].used) == (True, 2000)
    assert evidence("web1", *_held((ex.Open(goals=goal, count=1), ex.Happened(answered=1, moments=(0.1,))))).ports == ()
