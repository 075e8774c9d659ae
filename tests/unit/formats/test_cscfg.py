"""The service configuration file: read, put into a topology or a lab, and written again."""

from pathlib import Path

import pytest

from lab.azure.model import Network
from lab.errors import TopologyError, UsageError
from lab.formats import cscfg
from lab.operations.base import Refused, changed
from lab.operations.cscfg import ImportServiceConfiguration
from lab.topology import configured, load, parse

#: Instance level public IP (2016-02-10) sample, as it stands in the document.
SAMPLE = """\
    <?xml version="1.0" encoding="utf-8"?>
    <ServiceConfiguration serviceName="ILPIPSample" xmlns="http://schemas.microsoft.com/ServiceHosting/2008/10/ServiceConfiguration" osFamily="4" osVersion="*" schemaVersion="2014-01.2.3">
      <Role name="WebRole1">
        <Instances count="1" />
          <ConfigurationSettings>
        <Setting name="Microsoft.WindowsAzure.Plugins.Diagnostics.ConnectionString" value="UseDevelopmentStorage=true" />
          </ConfigurationSettings>
      </Role>
      <NetworkConfiguration>
        <AddressAssignments>
          <InstanceAddress roleName="WebRole1">
        <PublicIPs>
          <PublicIP name="MyPublicIP" domainNameLabel="MyPublicIP" />
            </PublicIPs>
          </InstanceAddress>
        </AddressAssignments>
      </NetworkConfiguration>
    </ServiceConfiguration>
"""  # noqa: E501 - as it stands
TOPOLOGY = """\
name: a
cloud_services:
  ILPIPSample:  # of the seed
    roles:
      WebRole1: 1  # one instance

      # what follows stays
    endpoints: [{name: web, role: WebRole1, local_port: 80, public_port: 80}]
"""
_PUBLIC = '<PublicIP name="MyPublicIP" domainNameLabel="MyPublicIP" />'


def network(text: str = TOPOLOGY) -> Network:
    return parse(text, "t")


def imported(text: str, into: Network) -> Network:
    return changed(into, ImportServiceConfiguration(cscfg.read(text, "f"), "f"))


def test_the_documents_own_sample_is_read() -> None:
    made = cscfg.read(SAMPLE, "f")
    assert made.service == "ILPIPSample"
    assert made.roles == (cscfg.Role("WebRole1", 1, cscfg.PublicIp("MyPublicIP", "MyPublicIP")),)


def test_a_running_lab_takes_it_and_an_address_of_the_same_name_stays() -> None:
    made = imported(SAMPLE, network())
    (vm,) = made.virtual_machines
    assert vm.instance_public_ip is not None
    assert (vm.instance_public_ip.name, vm.instance_public_ip.domain_name_label) == ("MyPublicIP", "MyPublicIP")
    again = imported(SAMPLE.replace(_PUBLIC, '<PublicIP name="MyPublicIP" idleTimeoutInMinutes="20" />'), made)
    own = again.virtual_machines[0].instance_public_ip
    assert own is not None
    assert (own.address, own.domain_name_label, own.idle_timeout_min) == (vm.instance_public_ip.address, None, 20)
    assert imported(SAMPLE.replace(_PUBLIC, ""), again) == network()


def test_a_topology_takes_it_and_all_else_stays_as_its_author_wrote_it() -> None:
    made = configured(TOPOLOGY, "t", cscfg.read(SAMPLE, "f"))
    own = '{instances: 1, instance_public_ip: {name: "MyPublicIP", domain_name_label: "MyPublicIP"}}'
    assert made == TOPOLOGY.replace("WebRole1: 1  #", f"WebRole1: {own}  #")
    assert configured(made, "t", cscfg.read(SAMPLE, "f")) == made
    scaled = configured(made, "t", cscfg.read(SAMPLE.replace('count="1"', 'count="3"'), "f"))
    assert len(network(scaled).virtual_machines) == 3
    bare = configured(made, "t", cscfg.read(SAMPLE.replace(_PUBLIC, ""), "f"))
    assert network(bare) == network()


_VNET = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
_OWN = '{name: "MyPublicIP", domain_name_label: "MyPublicIP"}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # in a block
        ("""\
WebRole1:  # kept
        # how many
        instances: 1   # one for now

        # what it serves
        services:
          - http:80  # the site
        subnet: v/s  # here
        # the last word
""", """\
WebRole1:  # kept
        # how many
        instances: 2   # one for now

        # what it serves
        services:
          - http:80  # the site
        subnet: v/s  # here
        instance_public_ip: OWN
        # the last word
"""),
        ("""\
WebRole1:
        instance_public_ip:  # ours
          # its name
          name: old   # a name
          address: 40.1.1.1
          idle_timeout_in_minutes: 4  # as by default
        instances: 1
        subnet: 'v/s'
""", """\
WebRole1:
        instance_public_ip:  # ours
          # its name
          name: "MyPublicIP"   # a name
          idle_timeout_in_minutes: 4  # as by default
          domain_name_label: "MyPublicIP"
        instances: 1
        subnet: 'v/s'
"""),
        ("""\
WebRole1:
        services: [http:80, 'tcp:81']  # two
        instance_public_ip:
        x-mine: {1: [a,  b]}
""", """\
WebRole1:
        services: [http:80, 'tcp:81']  # two
        instance_public_ip: OWN
        x-mine: {1: [a,  b]}
        instances: 2
"""),
        # in a flow
        ("WebRole1: {instances: 1,  services: [http:80], 'subnet': v/s }  # all\n",
         "WebRole1: {instances: 2,  services: [http:80], 'subnet': v/s, instance_public_ip: OWN }  # all\n"),
        ("""\
WebRole1: {
        subnet: v/s,  # here, and
        instance_public_ip: {name: MyPublicIP,  domain_name_label: other, address: 40.1.1.1},  # ours
        services: [http:80],
      }
""", """\
WebRole1: {
        subnet: v/s,  # here, and
        instance_public_ip: {name: MyPublicIP,  domain_name_label: "MyPublicIP", address: 40.1.1.1},  # ours
        services: [http:80],
      }
"""),
        ("WebRole1: {}\n", "WebRole1: {instance_public_ip: OWN, instances: 2}\n"),
        # alone
        ("WebRole1: 3  # three\n", "WebRole1: {instances: 2, instance_public_ip: OWN}  # three\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_what_must_change_of_a_role_changes(before: str, after: str, newline: str) -> None:
    # One address has one owner.
    sample = SAMPLE if "40.1.1.1" in before else SAMPLE.replace('count="1"', 'count="2"')
    text, wanted = (
        (TOPOLOGY.replace("WebRole1: 1  # one instance\n", role) + _VNET).replace("\n", newline)
        for role in (before, after.replace("OWN", _OWN))
    )
    assert configured(text, "t", cscfg.read(sample, "f")) == wanted
    assert configured(wanted, "t", cscfg.read(sample, "f")) == wanted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("WebRole1:\n        # a\n        instance_public_ip: {name: a}  # b\n        # c\n        instances: 1  # d\n",
         "WebRole1:\n        # a\n        # c\n        instances: 1  # d\n"),
        (("WebRole1:\n        instances: 1\n        instance_public_ip:\n          # a\n          name: a\n"
          "        # c\n"),
         "WebRole1:\n        instances: 1\n        # c\n"),
        ("WebRole1: {instance_public_ip: {name: a}, instances: 1}\n", "WebRole1: {instances: 1}\n"),
        ("WebRole1: {instances: 1, instance_public_ip: {name: a} }\n", "WebRole1: {instances: 1 }\n"),
        ("WebRole1: {instances: 1,  # a\n        instance_public_ip: {name: a} # b\n      }\n",
         "WebRole1: {instances: 1,  # a\n         # b\n      }\n"),
        ("WebRole1: {instances: 1, # a\n        instance_public_ip: {name: a}, # b\n      }\n",
         "WebRole1: {instances: 1, # a\n        # b\n      }\n"),
        ("WebRole1: {instance_public_ip: {name: a}}\n", "WebRole1: {}\n"),
        ("WebRole1: {x-a: {b:  1}, instance_public_ip: {name: a}}\n", "WebRole1: {x-a: {b:  1}}\n"),
        ("WebRole1: {instances: 1, instance_public_ip: }\n", "WebRole1: {instances: 1, instance_public_ip: }\n"),
    ],
)  # fmt: skip
def test_a_public_ip_that_goes_takes_nothing_along(before: str, after: str) -> None:
    text, wanted = (TOPOLOGY.replace("WebRole1: 1  # one instance\n", role) for role in (before, after))
    assert configured(text, "t", cscfg.read(SAMPLE.replace(_PUBLIC, ""), "f")) == wanted


def test_a_text_of_letters_beyond_ascii_and_behind_a_byte_order_mark_keeps_them() -> None:
    text = "\ufeff" + TOPOLOGY.replace("of the seed", "für Käufer 🛒")
    made = configured(text, "t", cscfg.read(SAMPLE, "f"))
    assert made == text.replace("WebRole1: 1  #", f"WebRole1: {{instances: 1, instance_public_ip: {_OWN}}}  #")


def test_values_that_are_shared_stay_shared() -> None:
    text = (TOPOLOGY + _VNET).replace("WebRole1: 1  # one instance", "WebRole1:\n        subnet: *s  # there")
    text = text.replace("name: a\n", "name: a\nx-s: &s v/s\n", 1)
    added = text.replace("*s  # there\n", f"*s  # there\n        instance_public_ip: {_OWN}\n")
    assert configured(text, "t", cscfg.read(SAMPLE, "f")) == added
    assert configured(added, "t", cscfg.read(SAMPLE.replace(_PUBLIC, ""), "f")) == text


def test_an_only_key_in_a_block_that_goes_leaves_an_empty_role() -> None:
    text = TOPOLOGY.replace("WebRole1: 1  #", "WebRole1:\n        instance_public_ip: {name: a}\n      #")
    made = configured(text, "t", cscfg.read(SAMPLE.replace(_PUBLIC, ""), "f"))
    assert network(made) == network()


def test_the_bundled_topology_keeps_its_every_other_character() -> None:
    file = Path(__file__).parents[3] / "topologies" / "instance-public-ip.lab.yaml"
    text = file.read_text()
    bundled = load(file)
    service = bundled.cloud_service("ILPIPSample")
    assert service is not None
    written = cscfg.write(bundled, service)
    assert configured(text, "t", cscfg.read(written, "f")) == text
    made = configured(text, "t", cscfg.read(SAMPLE, "f"))
    (old,) = [line for line in text.splitlines() if "WebRole1: " in line and "{" in line]
    (new,) = [line for line in made.splitlines() if "WebRole1: " in line and "{" in line]
    assert made == text.replace(old, new)
    assert new == old.replace("}", f", instance_public_ip: {_OWN}}}", 1)


@pytest.mark.parametrize(
    "role",
    [
        "WebRole1: {instances: 1, services: [http:80], subnet: v/s}",
        "WebRole1:\n        # a word\n        instances: 1\n        services: [http:80]\n        subnet: v/s  # here",
        ('WebRole1: {"instances": 1, "instance_public_ip": {name: MyPublicIP, address: 40.1.1.1}, '
        'services: ["http:80"], subnet: v/s}'),
    ],
)  # fmt: skip
def test_what_a_role_has_beside_stays_however_it_is_written(role: str) -> None:
    before = TOPOLOGY.replace("WebRole1: 1  # one instance", role) + _VNET
    (vm,) = network(configured(before, "t", cscfg.read(SAMPLE, "f"))).virtual_machines
    assert (vm.subnet, [str(s) for s in vm.services]) == ("s", ["http:80"])
    assert vm.instance_public_ip is not None
    assert vm.instance_public_ip.domain_name_label == "MyPublicIP"
    assert ("40.1.1.1" in role) == (str(vm.instance_public_ip.address) == "40.1.1.1")


def test_a_role_that_cannot_be_changed_alone_is_left_to_its_author() -> None:
    shared = TOPOLOGY.replace("WebRole1: 1  #", "WebRole1: *r  #").replace(
        "name: a\n", "name: a\nx-r: &r {instances: 1}\n"
    )
    with pytest.raises(UsageError) as caught:
        configured(shared, "t", cscfg.read(SAMPLE, "f"))
    assert "cannot be changed alone" in str(caught.value)


def test_what_is_written_is_what_is_read() -> None:
    made = imported(SAMPLE.replace(_PUBLIC, '<PublicIP name="a" idleTimeoutInMinutes="9" />'), network())
    service = made.cloud_service("ILPIPSample")
    assert service is not None
    text = cscfg.write(made, service)
    assert '<PublicIP name="a" idleTimeoutInMinutes="9" />' in text
    assert imported(text, made) == made
    assert imported(text, network()) == made


def test_what_the_topology_says_too_is_written_and_must_agree() -> None:
    text = TOPOLOGY.replace("WebRole1: 1  #", "WebRole1: {subnet: v/s}  #").replace(
        "    endpoints", "    virtual_ips: {Vip1: {reserved_ip: keepme}}\n    endpoints"
    )
    text += (
        "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\nreserved_ips: {keepme: {}}\n"
    )
    placed = network(text)
    service = placed.cloud_service("ILPIPSample")
    assert service is not None
    written = cscfg.write(placed, service)
    assert imported(written, placed) == placed
    for old, words in (
        ('VirtualNetworkSite name="v"', 'VirtualNetworkSite "x", and the topology has v'),
        ('Subnet name="s"', 'Subnets "x", and the topology has s'),
        ('ReservedIP name="keepme"', 'ReservedIP "x", and the topology has keepme'),
    ):
        assert old in written
        with pytest.raises(Refused) as caught:
            imported(written.replace(old, f'{old.split("=")[0]}="x"'), placed)
        assert words in str(caught.value)


_DECLARED = (
    "f:2: a document type definition (<!DOCTYPE a …>); a service configuration is plain XML, which defines no types "
    "or entities and reads no other file; remove it"
)
_BOMB = '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]>'
_EXTERNAL = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('roleName="WebRole1"', 'roleName="WebRole"', 'f:11: InstanceAddress WebRole: no Role "WebRole"; it must name'),
        ('roleName="WebRole1"', "", "f:11: InstanceAddress: no roleName"),
        (_PUBLIC, f"{_PUBLIC}\n{_PUBLIC}",
         "f:14: InstanceAddress WebRole1: 2 PublicIP; an instance has at most one public IP (Instance level public"),
        ('<PublicIP name="MyPublicIP"', "<PublicIP",
         "f:13: InstanceAddress WebRole1: PublicIP: no name; it must have one"),
        ("<PublicIP name", '<PublicIP idleTimeoutInMinutes="x" name', 'idleTimeoutInMinutes: "x"; it must be a whole'),
        ('count="1"', 'count="many"', 'Role WebRole1: Instances: "many"; it must be a whole number'),
        ('serviceName="ILPIPSample"', "", "ServiceConfiguration: no serviceName"),
        ("<ServiceConf", f"{_BOMB}<ServiceConf", _DECLARED),
        ("<ServiceConf", f"{_EXTERNAL}<ServiceConf", _DECLARED),
        ("</ServiceConfiguration>", "", "f:17: no element found; a service configuration is plain XML; correct it"),
        ('count="1"', 'count="&one;"', "f:4: undefined entity; a service configuration is plain XML; correct it"),
        ("<InstanceAddress ", '<InstanceAddres roleName="WebRole1" /><InstanceAddress ',
         'f:11: AddressAssignments: unknown element "InstanceAddres"; it may have InstanceAddress, ReservedIPs; did'),
        ("<PublicIP name", '<PublicIP bogus="abc" name',
         'f:13: PublicIP: unknown attribute "bogus"; it may have domainNameLabel, idleTimeoutInMinutes, name; remove'),
        ("<PublicIPs>", "<PublicIps>x</PublicIps><PublicIPs>", 'InstanceAddress: unknown element "PublicIps"'),
        ("<PublicIPs>", '<PublicIPs at="">', 'PublicIPs: unknown attribute "at"; it may have none; remove it'),
        ("<PublicIP name", '<PublicIP xmlns="" name', 'PublicIPs: unknown element "PublicIP" of no namespace'),
        ("<AddressAssignments>", "<AddressAssignment /><AddressAssignments>", 'element "AddressAssignment"'),
        ("<NetworkConfiguration>", "<NetworkConfig /><NetworkConfiguration>", 'element "NetworkConfig"'),
        ("2008/10", "2009/10", "the root is ServiceConfiguration of"),
        ('name="MyPublicIP"', 'name="a/b"', 'f:13: InstanceAddress WebRole1: PublicIP: "a/b"; a name begins'),
        ('name="MyPublicIP"', f'name="{"a" * 250}"', f'PublicIP: "{"a" * 80}"; a name begins with a letter or digit'),
        ("<AddressAssignments>",
         '<AddressAssignments><ReservedIPs><ReservedIP name="a" /><ReservedIP name="b" /></ReservedIPs>',
         "f:10: ReservedIPs: 2 ReservedIP; it has at most 1; keep one"),
        ("<AddressAssignments>", '<VirtualNetworkSite name="x" /><VirtualNetworkSite name="y" /><AddressAssignments>',
         "NetworkConfiguration: 2 VirtualNetworkSite; it has at most 1; keep one"),
        ("<PublicIPs>", "<PublicIPs /><PublicIPs>", "InstanceAddress: 2 PublicIPs; it has at most 1; keep one"),
        ("<AddressAssignments>", "<AddressAssignments /><AddressAssignments>", "2 AddressAssignments; it has"),
        ('count="1"', 'count="\uff11"', 'Instances: "\uff11"; it must be a whole number'),
        ("<AddressAssignments>", "<Dns /><AddressAssignments>", "NetworkConfiguration: Dns; the lab takes only"),
        ("</Role>", '</Role><Role name="WebRole1"><Instances count="1" /></Role>', "a second one of that name"),
        (
            "</InstanceAddress>",
            '</InstanceAddress><InstanceAddress roleName="WebRole1"><PublicIPs /></InstanceAddress>',
            "a second one for that role",
        ),
        ("</NetworkConfiguration>", "</NetworkConfiguration><NetworkConfiguration />", "2 NetworkConfiguration"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_in_words(old: str, new: str, words: str) -> None:
    assert old in SAMPLE
    with pytest.raises(TopologyError) as caught:
        cscfg.read(SAMPLE.replace(old, new, 1), "f")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ILPIPSample", "Sample", 'no cloud service "Sample"; serviceName must name a service of the topology'),
        ("WebRole1", "WebRole2", 'no role "WebRole2"; each Role of the file must be a role of the service'),
        ("WebRole1", "WebRole2", 'no Role "WebRole1" in the file; a service configuration has every role'),
        ('count="1"', 'count="2"', "2 instances, and 1 run; instances of a running lab come and go by its file"),
        ("<PublicIP name", '<PublicIP idleTimeoutInMinutes="3" name', "3; an idle timeout is 4 to 30 minutes"),
        ('domainNameLabel="MyPublicIP"', 'domainNameLabel="a_b"', '"a_b"; a label begins with a letter'),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_lab_is_refused_in_words(old: str, new: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        imported(SAMPLE.replace(old, new), network())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("WebRole1", "Web", 'f:3: Role Web: no role "Web"; each Role of the file must be a role of the service; did'),
        ('"ILPIPSample"', '"x"', 'f:2: ServiceConfiguration: no cloud service "x"; serviceName must name a service'),
        ('count="1"', 'count="6"', "f: virtual_machines: 6 instance-level public IPs in"),
        ('Label="My', 'Label="_', 'f:13: InstanceAddress WebRole1: PublicIP: domainNameLabel: "_PublicIP"; a label'),
        ("<PublicIP n", '<PublicIP idleTimeoutInMinutes="3" n',
         "f:13: InstanceAddress WebRole1: PublicIP: idleTimeoutInMinutes: 3; an idle timeout is 4 to 30 minutes"),
        ('count="1"', 'count="0"', "f:3: Role WebRole1: Instances: 0; it must be at least 1"),
        ("<AddressAssignments>", '<VirtualNetworkSite name="x" /><AddressAssignments>',
         'f:2: ServiceConfiguration: VirtualNetworkSite "x", and the topology has none'),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_topology_is_told_where_and_leaves_it_alone(old: str, new: str, line: str) -> None:
    assert old in SAMPLE
    with pytest.raises(TopologyError) as caught:
        configured(TOPOLOGY, "t", cscfg.read(SAMPLE.replace(old, new), "f"))
    assert caught.value.lines[0].startswith(line), caught.value


def test_what_a_running_lab_refuses_is_told_where_it_is_in_the_file() -> None:
    made = cscfg.read(SAMPLE.replace("<PublicIP name", '<PublicIP idleTimeoutInMinutes="3" name'), "f")
    with pytest.raises(Refused) as caught:
        changed(network(), ImportServiceConfiguration(made, "f"))
    assert [cscfg.located(made, problem).split("; ")[0] for problem in caught.value.problems] == [
        "f:13: InstanceAddress WebRole1: PublicIP: idleTimeoutInMinutes: 3"
    ]


def test_a_problem_of_another_part_is_told_of_the_file_with_its_own_place() -> None:
    others = "virtual_machines: {" + ", ".join(f"v{n}: {{instance_public_ip: {{name: n}}}}" for n in range(5)) + "}\n"
    with pytest.raises(TopologyError) as caught:
        configured(TOPOLOGY + others, "t", cscfg.read(SAMPLE, "f"))
    (line,) = caught.value.lines
    assert line.startswith("f")
    assert "6 instance-level public IPs in subscription" in line


def test_a_network_of_a_resource_group_is_meant_by_the_name_that_the_portal_gives_it() -> None:
    topology = """\
name: a
virtual_networks: {vnet: {address_space: [10.1.0.0/16], subnets: {front: 10.1.0.0/24}}}
cloud_services: {ILPIPSample: {roles: {WebRole1: {instances: 1, subnet: vnet/front}}}}
"""
    site = '<VirtualNetworkSite name="%s" /><AddressAssignments>'
    for name, words in (
        ("vnet", ""),
        ("Group RG vnet", ""),
        ("Group RG other", "the topology has vnet"),
        ("RG vnet", "vnet"),
    ):
        made = cscfg.read(SAMPLE.replace("<AddressAssignments>", site % name), "f")
        problems = [str(problem) for problem in cscfg.problems(network(topology), made)]
        assert len(problems) == bool(words)
        assert all(words in problem for problem in problems)
