"""The same client with and without a pool of connections, against 64 SNAT ports."""

from pathlib import Path

import pytest

CLIENT = Path(__file__).with_name("client.py")
pytestmark = pytest.mark.lab("shop.lab.yaml", scope="module")


def ask(lab, count, mode):
    return lab.vm("web1").run(["python3", CLIENT, lab.host("api").address, str(count), mode], check=False)


def test_with_a_pool_200_requests_need_one_port(lab):
    done = ask(lab, 200, "pooled")
    assert done.stdout == "200 requests answered\n", done.stderr
    seen = lab.host("api").connections()
    assert [one.client_address for one in seen] == ["40.1.2.3"], "the partner sees the load balancer's address, once"


def test_without_a_pool_the_ports_run_out(lab):
    done = ask(lab, 200, "unpooled")
    assert done.stderr == "request 65 of 200: timed out\n"
    (usage,) = [used for used in lab.ports() if used.protocol == "tcp"]
    assert (usage.allocated, usage.peak, usage.refused > 0) == (64, 64, True)


def test_the_documents_say_which_address_the_partner_sees(lab):
    said = lab.explain("web1", "api:80")
    assert [str(address) for address in said.way_out.addresses] == ["40.1.2.3"]
