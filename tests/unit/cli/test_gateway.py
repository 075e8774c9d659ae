"""`lab local-network`: what a bad request is answered with. No lab runs."""

from tests import rootlab


def test_a_local_network_is_not_set_to_nothing() -> None:
    done = rootlab.run("local-network", "set", "site-VNet2", "--lab", "vnet-to-vnet")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        (
            "local-network set site-VNet2: neither --address-space nor --address; one of them must change; "
            "add it, such as --address 203.0.113.2\n"
        ),
    )
