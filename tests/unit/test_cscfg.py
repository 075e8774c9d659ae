"""The service configuration file: read, put into a topology or a lab, and written again."""

import pytest

from lab import cscfg
from lab.change import Refused, changed
from lab.errors import TopologyError, UsageError
from lab.model import Network
from lab.operations.cscfg import ImportServiceConfiguration
from lab.topology import configured, parse

#: Seed 004's sample, as it stands in the document.
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
    assert cscfg.read(SAMPLE, "f") == cscfg.Configuration(
        "ILPIPSample", (cscfg.Role("WebRole1", 1, cscfg.PublicIp("MyPublicIP", "MyPublicIP")),)
    )


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
    vnet = "virtual_networks: {v: {address_space: [10.1.0.0/16], subnets: {s: 10.1.0.0/24}}}\n"
    before = TOPOLOGY.replace("WebRole1: 1  # one instance", role) + vnet
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


_BOMB = '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY c "&b;&b;">]>'
_EXTERNAL = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('roleName="WebRole1"', 'roleName="WebRole"', 'InstanceAddress WebRole: no Role "WebRole"; it must name'),
        ('roleName="WebRole1"', "", "InstanceAddress: no roleName"),
        (_PUBLIC, _PUBLIC * 2, "WebRole1: 2 PublicIP; an instance has at most one public IP (seed 004)"),
        ('<PublicIP name="MyPublicIP"', "<PublicIP", "InstanceAddress WebRole1: PublicIP: no name; it must have one"),
        ("<PublicIP name", '<PublicIP idleTimeoutInMinutes="x" name', 'idleTimeoutInMinutes: "x"; it must be a whole'),
        ('count="1"', 'count="many"', 'Role WebRole1: Instances: "many"; it must be a whole number'),
        ('serviceName="ILPIPSample"', "", "ServiceConfiguration: no serviceName"),
        ("<ServiceConf", f"{_BOMB}<ServiceConf", "a service configuration is plain XML"),
        ("<ServiceConf", f"{_EXTERNAL}<ServiceConf", "a service configuration is plain XML"),
        ("</ServiceConfiguration>", "", "a service configuration is plain XML"),
        ("2008/10", "2009/10", "the root is ServiceConfiguration of"),
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


def test_a_file_that_does_not_fit_the_topology_leaves_it_alone() -> None:
    with pytest.raises(TopologyError) as caught:
        configured(TOPOLOGY, "t", cscfg.read(SAMPLE.replace("WebRole1", "Web"), "f"))
    assert 't: cloud_services.ILPIPSample.roles: no role "Web"' in str(caught.value)
    with pytest.raises(TopologyError) as caught:
        configured(TOPOLOGY, "t", cscfg.read(SAMPLE.replace('count="1"', 'count="6"'), "f"))
    assert "a subscription has at most 5" in str(caught.value)
