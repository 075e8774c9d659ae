"""lab/topology/shape.py: short forms, defaults, cutting, and the JSON schema. Messages: test_errors_text*.py."""

from typing import Any

from lab.topology import shape
from lab.topology.shape import Topology, problems_of

_VNET = {"address_space": ["10.1.0.0/16"], "subnets": {"s": "10.1.0.0/24"}}


def test_a_subnet_may_be_its_prefix_alone() -> None:
    long = {**_VNET, "subnets": {"s": {"address_prefix": "10.1.0.0/24"}}}
    short, written = (Topology.model_validate({"name": "a", "virtual_networks": {"v": v}}) for v in (_VNET, long))
    assert short == written


def test_the_defaults_are_azures() -> None:
    rule = {"frontend": "f", "backend_pool": "p", "frontend_port": 80, "backend_port": 80}
    lb = {"frontend_ip_configurations": {"f": None}, "probes": {"p": {"port": 80}}, "load_balancing_rules": {"r": rule}}
    read = Topology.model_validate({"name": "a", "load_balancers": {"lb": lb}}).load_balancers["lb"]
    probe, web = read.probes["p"], read.load_balancing_rules["r"]
    assert (read.sku, web.protocol, web.load_distribution, web.idle_timeout_in_minutes) == (
        "Basic",
        "Tcp",
        "Default",
        4,
    )
    assert (probe.protocol, probe.interval_in_seconds, probe.number_of_probes, probe.request_path) == (
        "Tcp",
        None,
        2,
        "/",
    )


def test_the_defaults_of_a_cloud_service_are_the_documents() -> None:
    """Multiple VIPs, 2015-07-23; load-balancer-tcp-idle-timeout.md, load-balancer-distribution-mode.md (2016-10-24)."""
    endpoint = {"name": "e", "virtual_machine": "vm", "local_port": 80}
    read = Topology.model_validate({"name": "a", "cloud_services": {"s": {"endpoints": [endpoint]}}})
    service = read.cloud_services["s"]
    (found,) = service.endpoints
    assert (service.virtual_ips, service.default_virtual_ip, service.location) == ({}, None, "China North")
    assert (found.protocol, found.public_port, found.virtual_ip, found.load_balanced_set, found.probe) == (
        "tcp",
        None,
        None,
        None,
        None,
    )
    assert (found.idle_timeout_in_minutes, found.load_balancer_distribution, found.acl) == (4, "none", ())
    probe = shape.EndpointProbe.model_validate({})
    assert (probe.protocol, probe.port, probe.path, probe.interval_in_seconds, probe.timeout_in_seconds) == (
        "tcp",
        None,
        "/",
        15,
        31,
    )


def test_a_role_may_be_the_number_of_its_instances_alone() -> None:
    short, written = (
        Topology.model_validate({"name": "a", "cloud_services": {"s": {"roles": {"Web": role}}}})
        for role in (2, {"instances": 2})
    )
    assert short == written


def test_classic_words_are_read_whatever_their_case() -> None:
    rule = {"order": 1, "action": "Permit", "remote_subnet": "175.1.0.1/24"}
    endpoint = {"name": "e", "virtual_machine": "vm", "local_port": 80, "protocol": "TCP", "acl": [rule]}
    endpoint["probe"] = {"protocol": "HTTP"}
    read = shape.Endpoint.model_validate(endpoint)
    assert isinstance(read.probe, shape.EndpointProbe)
    assert (read.protocol, read.probe.protocol, read.acl[0].action) == ("tcp", "http", "permit")
    assert str(read.acl[0].remote_subnet) == "175.1.0.0/24"


def test_a_word_that_is_none_of_them_is_shown_as_it_is_written() -> None:
    rule = {"order": 1, "action": "PERMITT", "remote_subnet": "175.1.0.1/24"}
    endpoint = {"name": "e", "virtual_machine": "vm", "local_port": 80, "protocol": "TCPP", "acl": [rule]}
    found = problems_of({"name": "a", "cloud_services": {"s": {"endpoints": [endpoint]}}})
    assert [(path[-1], problem.found) for path, problem in found] == [("protocol", '"TCPP"'), ("action", '"PERMITT"')]


def test_what_fits_has_no_problem_and_is_not_cut() -> None:
    data: dict[str, Any] = {"name": "a", "virtual_networks": {"v": _VNET}}
    assert list(problems_of(data)) == []
    assert data == {"name": "a", "virtual_networks": {"v": _VNET}}


def test_what_does_not_fit_is_cut_out_so_that_the_rest_can_be_checked() -> None:
    data: dict[str, Any] = {
        "name": "a",
        "colour": "red",
        "internet": {"good": {"address": "198.51.100.1"}, "bad": {"address": "here"}},
    }
    assert [path for path, _ in problems_of(data)] == [("internet", "bad", "address"), ("colour",)]
    assert data == {"name": "a", "internet": {"good": {"address": "198.51.100.1"}}}


def test_a_part_that_lost_a_required_value_goes_without_a_second_problem() -> None:
    rules = [
        {"order": 1, "action": "permit", "remote_subnet": "x"},
        {"order": 2, "action": "deny", "remote_subnet": "1.0.0.0/8"},
    ]
    endpoint = {"name": "e", "local_port": 80, "acl": list(rules)}
    data: dict[str, Any] = {"name": "a", "cloud_services": {"s": {"endpoints": [endpoint]}}}
    where = ("cloud_services", "s", "endpoints", "0", "acl", "0", "remote_subnet")
    assert [path for path, _ in problems_of(data)] == [where]
    assert data["cloud_services"]["s"]["endpoints"][0]["acl"] == rules[1:]


def test_a_part_that_lacks_two_values_is_told_of_both_and_takes_nothing_else_with_it() -> None:
    rule = {"frontend_port": 80, "backend_port": 80}
    lb = {"frontend_ip_configurations": {"f": None}, "load_balancing_rules": {"r": rule}}
    data: dict[str, Any] = {"name": "a", "load_balancers": {"lb": lb}}
    where = ("load_balancers", "lb", "load_balancing_rules", "r")
    assert [(path[:-1], problem.found) for path, problem in problems_of(data)] == [
        (where, 'no "frontend"'),
        (where, 'no "backend_pool"'),
    ]
    assert data["load_balancers"] == {"lb": {"frontend_ip_configurations": {"f": None}, "load_balancing_rules": {}}}


def test_parts_of_one_list_are_cut_by_the_places_they_had() -> None:
    services = ["http", "http:80", "smtp:25", "tcp:81"]
    data: dict[str, Any] = {"name": "a", "internet": {"h": {"address": "198.51.100.1", "services": services}}}
    assert [path[-1] for path, _ in problems_of(data)] == ["0", "2"]
    assert data["internet"]["h"]["services"] == ["http:80", "tcp:81"]


def test_a_value_is_shown_as_the_file_has_it() -> None:
    values = ({}, [], None, True, 5, "x", "y" * 61)
    wanted = ["a mapping", "a list", "nothing", "true", "5", '"x"', '"' + "y" * 60 + '…"']
    assert [shape.shown(value) for value in values] == wanted


def test_the_schema_is_draft_07_and_refuses_what_the_reader_refuses() -> None:
    made = shape.schema()
    assert made["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert made["required"] == ["name"]
    assert made["additionalProperties"] is False
    assert set(made["properties"]) == {field.alias or name for name, field in Topology.model_fields.items()}


def test_the_schema_leaves_keys_alone_that_begin_with_x() -> None:
    made = shape.schema()
    assert all(d["patternProperties"] == {"^x-": {}} for d in (made, *made["definitions"].values()))


def test_every_reference_of_the_schema_leads_to_a_definition() -> None:
    made = shape.schema()

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if "$ref" in value else set()
            return own.union(*map(references, value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    assert references(made) == {f"#/definitions/{name}" for name in made["definitions"]}
