"""``lab init``: a first topology of one's own."""

import json
import re
from pathlib import Path

import click

from lab.cli.arguments import SUFFIX
from lab.cli.options import output_option
from lab.cli.output import print_json
from lab.errors import UsageError

_SCHEMA = "lab.schema.json"
_TEXT = """\
# yaml-language-server: $schema=SCHEMA
# A topology of lab. An editor with a YAML language server completes and checks it by the line above.
# Check it without root:      lab check FILE
# Which address does the partner see, and why?   lab explain FILE web1 partner:443
# All ways out, for an allow-list:                lab outbound FILE
# Prove it with packets:      sudo lab verify FILE --expect

name: NAME                # the lab's name; `lab show NAME` once it runs

internet:                 # hosts outside Azure, which see the source addresses
  partner:
    address: 198.51.100.10
    services: [https:443, tcp:7000]
  client: {address: 198.51.100.20}

virtual_networks:
  vnet1:
    address_space: [10.1.0.0/16]
    subnets:
      front: 10.1.0.0/24
      back: {address_prefix: 10.1.1.0/24, network_security_group: back-nsg}

virtual_machines:
  web1: {subnet: vnet1/front, services: [http:80]}
  web2: {subnet: vnet1/front, services: [http:80]}
  db1: {subnet: vnet1/back, services: [tcp:5432]}
  # A program of your own instead of a server of the lab's; no shell reads its arguments:
  # app1: {subnet: vnet1/front, services: [{exec: [python3, -m, http.server, "8080"], port: 8080}]}

load_balancers:
  lb1:
    sku: Basic            # or Standard
    frontend_ip_configurations: {public: 40.1.2.3}      # your own address; left out, one is allocated
    backend_address_pools: {web: [web1, web2]}
    probes: {alive: {protocol: Tcp, port: 80}}
    load_balancing_rules: # a rule binds the pool to the frontend; membership alone binds nothing
      http: {frontend: public, backend_pool: web, probe: alive, frontend_port: 80, backend_port: 80}

network_security_groups:
  back-nsg:
    - {name: from-front, priority: 100, direction: Inbound, access: Allow, protocol: Tcp,
       source_address_prefix: 10.1.0.0/24, destination_port_range: 5432}
    - {name: nothing-else, priority: 200, direction: Inbound, access: Deny}

expect:                   # what you believe; `lab verify` judges it by packets
  - {from: web1, to: "partner:443/tcp", source_ip: 40.1.2.3}
  - {from: client, to: "40.1.2.3:80/tcp", answered_by: [web1, web2]}
  - {from: web1, to: "db1:5432/tcp", outcome: answered}
  - {from: web1, run: [curl, -sSk, "https://partner/"], output: '"client_address": "40.1.2.3"'}
"""


@click.command("init")
@click.argument("place", required=False, metavar="[DIR|FILE]", type=click.Path(path_type=Path))
@output_option
def init(place: Path | None, output: str) -> None:
    """Write a topology to begin with, with comments, and the schema that its editor checks it by.

    DIR is a folder, by default this one; the topology is named after it. FILE is a *.lab.yaml. A file that is there
    already is never overwritten.

    \b
    Example:
      lab init mine.lab.yaml
      lab check mine.lab.yaml
    """
    chosen = place or Path()
    if chosen.name.endswith(SUFFIX):
        file = chosen
    elif chosen.suffix in (".yaml", ".yml"):
        raise UsageError(f"{chosen}: a topology's file is named NAME{SUFFIX}; write: {chosen.stem}{SUFFIX}")
    else:
        file = chosen / f"{_name(chosen.resolve().name)}{SUFFIX}"
    schema = file.parent / _SCHEMA
    if file.exists():
        raise UsageError(f"{file}: it is there already; no file is overwritten; name another FILE")
    if schema.exists() and not _is_ours(schema):
        raise UsageError(f"{schema}: another schema; the topology's is to be there; move it, or name another folder")
    from lab import topology

    text = _TEXT.replace("SCHEMA", f"./{_SCHEMA}", 1).replace("NAME", _name(file.name.removesuffix(SUFFIX)))
    text = text.replace("FILE", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        schema.write_text(json.dumps(topology.schema(), indent=2) + "\n")
        with file.open("x") as opened:
            opened.write(text)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; its folder must be one to write in; name another") from None
    if output == "json":
        print_json({"file": str(file), "schema": str(schema)})
    click.echo(f"{file}: written, with {schema}; next: lab check {file}", err=True)


def _name(word: str) -> str:
    """Return the name of a lab that is like a word."""
    name = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")
    name = name if re.match(r"[a-z]", name) else f"lab-{name}"
    return name[:20].rstrip("-")


def _is_ours(schema: Path) -> bool:
    try:
        return bool(json.loads(schema.read_text()).get("title") == "lab topology")
    except (OSError, ValueError, AttributeError):
        return False


COMMANDS: tuple[click.Command, ...] = (init,)
