"""Mutations of what is claimed of health probes."""

from tests.mutations import Mutation

_DISTRIBUTION = "lab/path/distribution.py"
_PROBES, _HEALTH = "lab/path/health_probe.py", "lab/deciders/health.py"
_INVARIANTS = "lab/azure/invariants.py"
_PROFILE = "lab/azure/profile.py"
_LOGS = "lab/agent/logs.py"
_MEMBERS = "lab/agent/health.py"
_MODEL = "lab/azure/model.py"
_OK = "if status == 200 else"
_FAILURES = "failures=count,"
_SUCCESSES = "successes=count,"
_HEALTHY = 'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down)'

_SET_PROBES = "probes = {name: members[0].probe for name, members in sets.items()}"

MUTATIONS = (
    Mutation(
        "N-HP-1",
        "probes come from 168.63.129.16",
        "health-probes",
        _PROBES,
        "source=str(PLATFORM_ADDRESS),",
        "source=str(lb.frontends[0].address),",
    ),
    Mutation(
        "N-HP-1",
        "no virtual network contains that address",
        "health-probes",
        _INVARIANTS,
        'yield from _unusable((*path, "address_space", str(index)), prefix, "an address space")',
        'yield from () if PLATFORM_ADDRESS in prefix else _unusable(path, prefix, "an address space")',
    ),
    Mutation("N-HP-2", "a status of 200 is healthy", "health-probes", _MEMBERS, _OK, "if status == 299 else"),
    Mutation("N-HP-2", "another status is not", "health-probes", _MEMBERS, _OK, "if status < 300 else"),
    Mutation(
        "N-HP-2",
        "an answer is awaited for 31 seconds",
        "health-probes",
        _PROFILE,
        '"probe_http_timeout_s": Cell(31,',
        '"probe_http_timeout_s": Cell(20,',
    ),
    Mutation(
        "N-HP-2",
        "the default interval is 15 seconds",
        "health-probes",
        _PROFILE,
        '"probe_interval_s": Cell(15,',
        '"probe_interval_s": Cell(30,',
    ),
    Mutation(
        "N-HP-2",
        "another answer marks a member down at once since 2018-09",
        "health-probes",
        _PROFILE,
        '"probe_http_failure": Cell("at once",',
        '"probe_http_failure": Cell("counts",',
    ),
    Mutation(
        "N-HP-2",
        "another answer counts as a failure in 2016",
        "health-probes",
        _PROFILE,
        '"probe_http_failure": Cell("counts", _PROBES_2016_10',
        '"probe_http_failure": Cell("at once", _PROBES_2016_10',
        "2016-10",
    ),
    Mutation(
        "N-HP-2",
        "there is no HTTPS probe of a Basic load balancer",
        "health-probes",
        "lab/topology/shape.py",
        (
            'protocol: Literal["Tcp", "Http"] = "Tcp"\n'
            "    port: Port\n"
            '    request_path: RequestPath = "/"\n'
            "    interval_in_seconds: Positive | None"
        ),
        (
            'protocol: Literal["Tcp", "Http", "Https"] = "Tcp"\n'
            "    port: Port\n"
            '    request_path: RequestPath = "/"\n'
            "    interval_in_seconds: Positive | None"
        ),
    ),
    Mutation(
        "N-HP-3",
        "a probe closes its connection with a FIN",
        "health-probes",
        _MEMBERS,
        "                await _close(opened)\n",
        '                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")\n',
    ),
    Mutation(
        "N-HP-3",
        "the shortest interval is 5 seconds",
        "health-probes",
        _PROFILE,
        '"probe_min_interval_s": Cell(5,',
        '"probe_min_interval_s": Cell(4,',
    ),
    Mutation(
        "N-HP-3",
        "the smallest count is 2",
        "health-probes",
        _PROFILE,
        '"probe_min_count": Cell(2,',
        '"probe_min_count": Cell(1,',
    ),
    Mutation(
        "N-HP-3",
        "interval times count is at most 120 seconds in 2018",
        "health-probes",
        _PROFILE,
        '"probe_max_s": Cell(120,',
        '"probe_max_s": Cell(122,',
    ),
    Mutation(
        "N-HP-4",
        "so many failures in a row take a member out",
        "health-probes",
        _PROBES,
        _FAILURES,
        "failures=count + 1,",
    ),
    Mutation(
        "N-HP-4",
        "so many successes in a row bring it back",
        "health-probes",
        _PROBES,
        _SUCCESSES,
        "successes=count - 1,",
    ),
    Mutation(
        "N-HP-4",
        "one failure takes it out since 2023",
        "health-2026",
        _PROBES,
        'if profile.probe_threshold == "count" else 1)',
        "if profile.probe_threshold else 1)",
    ),
    Mutation(
        "N-HP-4", "one success brings it back since 2023", "health-2026", _PROBES, _SUCCESSES, "successes=count + 1,"
    ),
    Mutation(
        "N-HP-4",
        "members of a set have one probe",
        "multivip",
        _MODEL,
        'return msgspec.structs.replace(self, name="", virtual_machine="", acl=())',
        'return msgspec.structs.replace(self, name="", virtual_machine="", acl=(), probe=None)',
    ),
    Mutation(
        "N-HP-6",
        "the default interval is 5 seconds since 2023",
        "health-2026",
        _PROFILE,
        '"probe_interval_s": Cell(5,',
        '"probe_interval_s": Cell(15,',
    ),
    Mutation(
        "N-HP-6",
        "the HTTP timeout is 30 seconds since 2023",
        "health-2026",
        _PROFILE,
        '"probe_http_timeout_s": Cell(30,',
        '"probe_http_timeout_s": Cell(60,',
    ),
    Mutation(
        "N-HP-6",
        "HTTP probes of some ports are refused",
        "health-2026",
        _PROFILE,
        "frozenset({19, 21, 25, 70, 110, 119, 143, 220, 993})",
        "frozenset({19, 21, 25, 70, 110, 119, 143, 220})",
    ),
    Mutation(
        "N-HP-6",
        "TCP probes of these ports are not",
        "health-2026",
        _INVARIANTS,
        'if probe.protocol == "Http" and probe.port in profile.probe_http_refused:',
        "if probe.port in profile.probe_http_refused:",
    ),
    Mutation(
        "N-HP-7",
        "a member that is down is sent no new flow",
        "health-probes",
        _DISTRIBUTION,
        _HEALTHY,
        "return tuple(there)",
    ),
    Mutation(
        "N-HP-7",
        "it is probed on",
        "health-probes",
        _MEMBERS,
        ("            while True:\n                task = _start(self._ask(check, number))"),
        (
            "            while not self.health[check.key].taken_out:\n"
            "                task = _start(self._ask(check, number))"
        ),
    ),
    Mutation(
        "N-HP-8",
        "with all members down a frontend is silent",
        "health-probes",
        _DISTRIBUTION,
        _HEALTHY,
        (
            'return tuple(vm for vm in there if probe is None or f"{lb.name}/{probe}/{vm.name}" not in down) '
            "or tuple(there)"
        ),
    ),
    Mutation(
        "N-HP-9",
        "TCP flows of a member that is down go on",
        "health-probes",
        _HEALTH,
        ('if item.protocol == "udp":\n            yield from'),
        ("if newly:\n            yield from"),
    ),
    Mutation(
        "N-HP-9",
        "UDP flows go on there or elsewhere",
        "health-probes",
        _HEALTH,
        "return Ending(item.place, item.protocol, item.address, item.port, member.address)",
        'return Ending(item.place, "tcp", item.address, item.port, member.address)',
    ),
    Mutation(
        "N-HP-10",
        "a Basic load balancer ends TCP flows when all are down",
        "health-probes",
        _PROFILE,
        '"all_down_basic": Cell("end", _PROBES_2018_09)',
        '"all_down_basic": Cell("go on", _PROBES_2018_09)',
    ),
    Mutation(
        "N-HP-10",
        "a Standard one keeps them",
        "health-probes",
        _PROFILE,
        '"all_down_standard": Cell("go on", _PROBES_2018_09)',
        '"all_down_standard": Cell("end", _PROBES_2018_09)',
    ),
    Mutation(
        "N-HP-10",
        "since 2023 only in a pool of several members",
        "health-2026",
        _PROFILE,
        '"all_down_standard": Cell("go on if several",',
        '"all_down_standard": Cell("go on",',
    ),
    Mutation(
        "N-HP-10",
        "UDP flows end",
        "health-probes",
        _HEALTH,
        ('if item.protocol == "udp":\n            yield from (_of_member(item, member) for member in newly)'),
        ('if item.protocol == "udp":\n            yield from ()'),
    ),
    Mutation(
        "N-HP-11",
        "outbound flows have the frontend's address when the probe fails",
        "health-probes",
        "lab/path/outbound_snat.py",
        'vms = [vm for vm in everyone if vm.name in given and vm.power_state != "Deallocated"]',
        (
            'vms = [vm for vm in everyone if vm.name in given and vm.power_state != "Deallocated" and not '
            'any(key.endswith(f"/{vm.name}") for key in _down)]'
        ),
    ),
    Mutation(
        "N-HP-12",
        "a probe goes to the member's own address",
        "health-probes",
        _PROBES,
        ("address=str(vms[name].private_ip_address),\n            port=probe.port"),
        ("address=str(lb.frontends[0].address),\n            port=probe.port"),
    ),
    Mutation(
        "N-HP-13",
        "a group that denies the probe marks the member down",
        "health-probes",
        _PROFILE,
        '"nsg_filters_platform": Cell(\n            value=True,',
        '"nsg_filters_platform": Cell(\n            value=False,',
    ),
    Mutation(
        "N-HP-14",
        "a rule without a probe is accepted",
        "health-2026",
        _INVARIANTS,
        "if rule.probe is None and profile.probe_required:",
        # The topology's own rule without a probe has another port: else there would be no lab to judge.
        "if rule.probe is None and (profile.probe_required or rule.frontend_port == 80):",
    ),
    Mutation(
        "N-HP-14",
        "its members count as up",
        "health-2026",
        _DISTRIBUTION,
        _HEALTHY,
        ('return tuple(vm for vm in there if probe is not None and f"{lb.name}/{probe}/{vm.name}" not in down)'),
    ),
    Mutation(
        "N-HP-14",
        "the portal of 2018 insists on a probe",
        "health-2026",
        _PROFILE,
        '"probe_required": Cell(True,',
        '"probe_required": Cell(False,',
    ),
    Mutation(
        "N-HP-5",
        "a set is probed by default",
        "multivip",
        _MODEL,
        _SET_PROBES,
        "probes = {name: None for name, members in sets.items()}",
    ),
    Mutation(
        "N-HP-5",
        "a set without a probe is not probed",
        "multivip",
        _MODEL,
        _SET_PROBES,
        (
            'probes = {name: members[0].probe or EndpointProbe(protocol="Tcp", port=members[0].local_port) '
            "for name, members in sets.items()}"
        ),
    ),
    Mutation(
        "N-HP-5",
        "the ways to probe exclude each other",
        "multivip",
        "lab/cli/endpoint.py",
        "if len(ways) + bool(described) > 1:",
        "if False:",
    ),
    Mutation(
        "N-HP-15",
        "so many failures in a row take a member out",
        "health-2026",
        _PROBES,
        _FAILURES,
        "failures=count + 1,",
    ),
    Mutation(
        "N-HP-15",
        "so many successes in a row bring it back",
        "health-2026",
        _PROBES,
        _SUCCESSES,
        "successes=count - 1,",
    ),
    Mutation(
        "N-HP-15",
        "with AllProbedUp flows go to all members where none answers",
        "health-2026",
        _DISTRIBUTION,
        "all_probed_up and all(",
        "all_probed_up and not all(",
    ),
    Mutation(
        "N-HP-15",
        "revisions before do not have it",
        "health-2026",
        _INVARIANTS,
        'if given and profile.probe_threshold != "one":',
        "if False:",
    ),
    Mutation(
        "N-ML-5",
        "more than 75 % of the ports is high usage",
        "snat-exhaustion",
        "lab/deciders/snat_ports.py",
        "_HIGH_USAGE = 0.75",
        "_HIGH_USAGE = 0.8",
    ),
    Mutation(
        "N-ML-5",
        "high usage is a warning",
        "snat-exhaustion",
        _LOGS,
        '("HighSnatPortUsage", "Warning"',
        '("HighSnatPortUsage", "Critical"',
    ),
    Mutation(
        "N-ML-5",
        "exhaustion is critical",
        "snat-exhaustion",
        _LOGS,
        '("SnatPortExhaustion", "Critical"',
        '("SnatPortExhaustion", "Warning"',
    ),
    Mutation(
        "N-ML-5",
        "the last member that goes down is told",
        "health-2026",
        _MEMBERS,
        "        if lost and self._unserved is not None:",
        "        if not lost and self._unserved is not None:",
    ),
    Mutation(
        "N-ML-5",
        "no other member's going down is",
        "health-2026",
        _MEMBERS,
        "and all(after.get(member.check) is False for member in item.members)",
        "and any(after.get(member.check) is False for member in item.members)",
    ),
    Mutation(
        "N-ML-5",
        "it has the keys of the document",
        "health-2026",
        _LOGS,
        '        "FrontendIP": address,\n',
        '        "FrontendIp": address,\n',
    ),
)
