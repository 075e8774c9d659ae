"""The evaluator of Azure Resource Manager templates: functions, loops, conditions, nesting, references, limits."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lab.formats import arm
from lab.formats.arm import Unknown
from lab.formats.arm.errors import LimitError, TemplateError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "arm"
CASES = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab"


def _value(expression: Any, given: dict[str, Any] | None = None, **template: Any) -> Any:
    """Return what an expression is, as the property of a resource."""
    body = {"type": "A.B/c", "name": "r", "properties": {"x": expression}}
    made = arm.deploy({**template, "resources": [body]}, given or {})
    if made.problems:
        raise TemplateError(made.problems[0].text)
    return made.resources[0]["properties"]["x"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("[add(1, 2)]", 3),
        ("[and(true(), equals('A', 'a'))]", True),
        ("[base64ToString(base64('a'))]", "a"),
        ("[bool('True')]", True),
        ("[cidrHost('10.0.0.0/24', 3)]", "10.0.0.4"),
        ("[cidrSubnet('10.0.0.0/16', 24, 2)]", "10.0.2.0/24"),
        ("[coalesce(null(), 'x')]", "x"),
        ("[concat('a', 1, 'b')]", "a1b"),
        ("[concat(createArray(1), createArray(2))]", [1, 2]),
        ("[contains(createObject('Key', 1), 'key')]", True),
        ("[createObject('a', 1).A]", 1),
        ("[div(7, 2)]", 3),
        ("[empty('')]", True),
        ("[endsWith('abC', 'c')]", True),
        ("[filter(range(0, 4), lambda('n', greater(lambdaVariables('n'), 1)))]", [2, 3]),
        ("[first(split('a,b', ','))]", "a"),
        ("[format('{{{0}}}-{1:D2}-{2}', 'x', 3, true())]", "{x}-03-True"),
        ("[if(false(), fail('never'), 'no')]", "no"),
        ("[int('12')]", 12),
        ("[intersection(createArray(1, 2), createArray(2))]", [2]),
        ("[join(createArray('a', 'b'), '-')]", "a-b"),
        ("[json('{\"a\": [1]}').a[0]]", 1),
        ("[json('{a: 1}').a]", 1),
        ("[json('null')]", None),
        ("[last('abc')]", "c"),
        ("[length(range(0, 3))]", 3),
        ("[map(createArray('a'), lambda('x', concat(lambdaVariables('x'), '!')))]", ["a!"]),
        ("[max(1, 3)]", 3),
        ("[min(createArray(4, 2))]", 2),
        ("[mod(7, 4)]", 3),
        ("[not(false())]", True),
        ("[padLeft('7', 3, '0')]", "007"),
        ("[range(2, 2)[1]]", 3),
        ("[reduce(range(1, 3), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))]", 6),
        ("[replace('aXa', 'X', '-')]", "a-a"),
        ("[resourceId('Microsoft.Network/a/b/', 'x', 'y')]", f"{GROUP}/providers/Microsoft.Network/a/x/b/y"),
        ("[resourceId('other', 'N/a', 'x')]", GROUP.replace("/lab", "/other") + "/providers/N/a/x"),
        ("[skip('abc', 1)]", "bc"),
        ("[sort(createArray(2, 1), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))]", [1, 2]),
        ("[string(1)]", "1"),
        ("[substring('abcdef', 1, 2)]", "bc"),
        ("[take('abc', 2)]", "ab"),
        ("[toLower(toUpper('aB'))]", "ab"),
        ("[trim(' a ')]", "a"),
        ("[tryGet(createObject('a', 1), 'b')]", None),
        ("[createObject('a', 1).?b]", None),
        ("[union(createObject('a', 1), createObject('b', 2))]", {"a": 1, "b": 2}),
        ("[uri('https://h/a/b.json', 'c.json')]", "https://h/a/c.json"),
        ("[[not an expression]", "[not an expression]"),
        ("it''s", "it''s"),
        ("['it''s']", "it's"),
    ],
)
def test_function(expression: str, value: object) -> None:
    assert _value(expression) == value


def test_names_that_are_made_up_are_stable_and_differ() -> None:
    one, other = "[uniqueString('a')]", "[uniqueString('b')]"
    assert _value(one) == _value(one) != _value(other)
    assert len(_value(one)) == 13


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "[nosuch()]",
            "[concat('a']",
            "[parameters('none')]",
            "[variables('none')]",
            "[createArray(1)[4]]",
            "[int('x')]",
        ),
        *("[div(1, 0)]", "[copyIndex()]", "[substring('a', 5)]", "[resourceId('A/b/c', 'x')]", "[format('{3}', 1)]"),
    ],
)
def test_an_error_is_told_with_its_place(expression: str) -> None:
    body = {"type": "A.B/c", "name": "r", "properties": {"x": expression}}
    (problem,) = arm.deploy({"resources": [body]}, {}).problems
    assert problem.place == "resources[0]"
    assert problem.text.count(";") >= 2


def test_every_error_is_told_at_once() -> None:
    bodies = [{"type": "A.B/c", "name": f"[nosuch{i}()]"} for i in range(3)]
    assert [p.place for p in arm.deploy({"resources": bodies}, {}).problems] == [f"resources[{i}]" for i in range(3)]


def test_what_is_wrong_with_a_type_that_is_not_wanted_stops_nothing() -> None:
    bodies = [{"type": "A.B/c", "name": ""}, {"type": "A.B/c", "name": "[nosuch()]"}, {"type": "A.B/d", "name": "x"}]
    made = arm.deploy({"resources": bodies}, {}, wanted="a.b/d".__eq__)
    assert ([one["name"] for one in made.resources], made.problems, len(made.notes)) == (["x"], (), 2)


def test_loops_of_resources_properties_and_variables() -> None:
    template = {
        "variables": {"copy": [{"name": "names", "count": 2, "input": "[concat('v', copyIndex('names'))]"}]},
        "resources": [
            {
                "type": "A.B/c",
                "name": "[concat('r', copyIndex(1))]",
                "copy": {"name": "loop", "count": "[length(variables('names'))]"},
                "properties": {
                    "own": "[variables('names')[copyIndex()]]",
                    "copy": [{"name": "parts", "count": 2, "input": "[add(copyIndex('parts', 5), copyIndex('loop'))]"}],
                },
            }
        ],
    }
    made = arm.deploy(template, {}).resources
    assert [(r["name"], r["properties"], r["place"]) for r in made] == [
        ("r1", {"own": "v0", "parts": [5, 6]}, "resources[0][0]"),
        ("r2", {"own": "v1", "parts": [6, 7]}, "resources[0][1]"),
    ]


def test_conditions() -> None:
    bodies = [{"type": "A.B/c", "name": name, "condition": f"[equals(parameters('p'), '{name}')]"} for name in "xy"]
    template = {"parameters": {"p": {"type": "string", "defaultValue": "x"}}, "resources": bodies}
    assert [r["name"] for r in arm.deploy(template, {}).resources] == ["x"]
    assert [r["name"] for r in arm.deploy(template, {"P": "y"}).resources] == ["y"]
    unknown = arm.deploy({**template, "parameters": {"p": {"type": "string"}}}, {})
    assert len(unknown.resources) == len(unknown.notes) == 2


def _nested(scope: str) -> dict[str, Any]:
    inner = {
        "parameters": {"who": {"type": "string", "defaultValue": "inner"}},
        "resources": [{"type": "A.B/c", "name": "[parameters('who')]"}],
        "outputs": {"made": {"type": "string", "value": "[parameters('who')]"}},
    }
    properties = {"expressionEvaluationOptions": {"scope": scope}, "template": inner}
    if scope == "inner":
        properties["parameters"] = {"who": {"value": "[concat(parameters('who'), '-given')]"}}
    user = {"type": "A.B/d", "name": "[reference('n').outputs.made.value]"}
    deployment = {"type": "Microsoft.Resources/deployments", "name": "n", "properties": properties}
    return {"parameters": {"who": {"type": "string", "defaultValue": "outer"}}, "resources": [user, deployment]}


@pytest.mark.parametrize(("scope", "name"), [("inner", "outer-given"), ("outer", "outer")])
def test_nested_templates_see_the_scope_that_they_ask_for(scope: str, name: str) -> None:
    made = arm.deploy(_nested(scope), {})
    assert made.problems == ()
    assert sorted((r["type"], r["name"]) for r in made.resources) == [("A.B/c", name), ("A.B/d", name)]


def test_linked_templates_come_from_the_function_that_is_given() -> None:
    link = {"templateLink": {"relativePath": "sub/one.json"}, "parameters": {"p": {"value": "there"}}}
    template = {"resources": [{"type": "Microsoft.Resources/deployments", "name": "n", "properties": link}]}
    body = {"parameters": {"p": {"type": "string"}}, "resources": [{"type": "A.B/c", "name": "[parameters('p')]"}]}
    files: dict[str, object] = {"sub/one.json": body}
    assert [r["name"] for r in arm.deploy(template, {}, linked=files.get).resources] == ["there"]
    assert "sub/one.json" in arm.deploy(template, {}).notes[0].text


def test_references_see_what_the_file_says_and_ids_of_parts() -> None:
    pool = {"name": "pool", "properties": {}}
    template = {
        "languageVersion": "2.0",
        "resources": {
            "lb": {"type": "N/loadBalancers", "name": "lb1", "properties": {"backendAddressPools": [pool]}},
            "old": {"existing": True, "type": "N/x", "name": "gone"},
            "nic": {
                "type": "N/nics",
                "name": "nic",
                "properties": {
                    "pool": "[reference('lb').backendAddressPools[0].id]",
                    "full": "[reference('lb', '2020-01-01', 'full').name]",
                    "unknown": "[reference('old').ip]",
                    "runtime": "[reference('lb').ipAddress]",
                },
            },
        },
    }
    made = arm.deploy(template, {})
    nic = made.resources[1]["properties"]
    assert [r["name"] for r in made.resources] == ["lb1", "nic"]
    assert nic["pool"] == f"{GROUP}/providers/N/loadBalancers/lb1/backendAddressPools/pool"
    assert nic["full"] == "lb1"
    assert isinstance(nic["unknown"], Unknown)
    assert isinstance(nic["runtime"], Unknown)


def test_children_have_the_names_and_types_of_their_parents() -> None:
    child = {"type": "subnets", "name": "s"}
    made = arm.deploy({"resources": [{"type": "N/vnets", "name": "v", "resources": [child]}]}, {}).resources
    assert [r["id"] for r in made] == [f"{GROUP}/providers/N/vnets/v", f"{GROUP}/providers/N/vnets/v/subnets/s"]


def test_secrets_and_values_that_are_not_given_are_unknown() -> None:
    parameters = {"s": {"type": "SecureString", "defaultValue": "hunter2"}, "p": {"type": "string"}}
    for expression in ("[parameters('s')]", "[concat('a', parameters('s'))]", "[listKeys('x', '1').keys[0]]"):
        assert isinstance(_value(expression, {"s": "hunter2"}, parameters=parameters), Unknown)
    assert isinstance(_value("[parameters('p')]", parameters=parameters), Unknown)


def test_a_parameter_that_is_given_as_null_has_its_default() -> None:
    parameters = {"p": {"type": "string", "defaultValue": "x"}, "q": {"type": "string", "nullable": True}}
    assert _value("[parameters('p')]", {"p": None}, parameters=parameters) == "x"
    assert _value("[parameters('q')]", {"q": None}, parameters=parameters) is None
    assert _value("[parameters('q')]", parameters=parameters) is None


def test_functions_of_the_template_itself() -> None:
    body = {"parameters": [{"name": "x", "type": "string"}], "output": {"value": "[concat(parameters('x'), '!')]"}}
    functions = [{"namespace": "my", "members": {"shout": body}}]
    assert _value("[my.shout('a')]", functions=functions) == "a!"


def test_json_with_comments_and_commas() -> None:
    text = '{ // one\n "a": "http://x", /* two\n */ "b": [1, 2,], }'
    assert arm.read_json(text) == {"a": "http://x", "b": [1, 2]}
    with pytest.raises(TemplateError, match="line 2"):
        arm.read_json('{\n"a" 1}')
    with pytest.raises(TemplateError, match="levels"):
        arm.read_json("[" * 100_000)


def _doubling(levels: int) -> dict[str, Any]:
    variables = {"v0": ["x"]} | {f"v{i}": [f"[variables('v{i - 1}')]"] * 2 for i in range(1, levels)}
    return {"variables": variables, "x": f"[variables('v{levels - 1}')]"}


def _template(expression: str, **more: Any) -> dict[str, Any]:
    return {"resources": [{"type": "A.B/c", "name": "r", "properties": {"x": expression}}], **more}


_LOOP = {"name": "a", "count": 800, "input": [1] * 9}
_CALLED = {"parameters": [], "output": {"value": "[m.f()]"}}
BOMBS = {
    "copies": {"resources": [{"type": "A.B/c", "name": "[copyIndex()]", "copy": {"name": "c", "count": 10**9}}]},
    "range": _template("[range(0, 1000000000)]"),
    "text": _template("[padLeft('', 1000000000)]"),
    "recursive variables": _template("[variables('a')]", variables={"a": "[variables('b')]", "b": "[variables('a')]"}),
    "recursive parameter": _template(
        "[parameters('a')]", parameters={"a": {"type": "string", "defaultValue": "[parameters('a')]"}}
    ),
    "recursive function": _template("[m.f()]", functions=[{"namespace": "m", "members": {"f": _CALLED}}]),
    "doubled lists": _template(str(_doubling(40)["x"]), variables=_doubling(40)["variables"]),
    "doubled text": _template(
        "[variables('v59')]",
        variables={"v0": "xx"} | {f"v{i}": "[concat({0}, {0})]".format(f"variables('v{i - 1}')") for i in range(1, 60)},
    ),
    "chain": _template(
        "[variables('v4999')]",
        variables={"v0": "x"} | {f"v{i}": f"[variables('v{i - 1}')]" for i in range(1, 5000)},
    ),
    "deep expression": _template("[" + "not(" * 5000 + "true()" + ")" * 5000 + "]"),
    "loops in loops": _template(
        "x",
        resources=[{"type": "A.B/c", "name": "r", "properties": {"copy": [_LOOP | {"input": {"copy": [_LOOP]}}]}}],
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_asks_for_too_much_is_refused_at_once(name: str) -> None:
    begun = time.process_time()
    try:
        told = arm.deploy(BOMBS[name], {}).problems[0].text
    except LimitError as error:
        told = str(error)
    assert time.process_time() - begun < 2
    assert told.count(";") >= 2
    assert len(told) < 500


def test_templates_nested_too_deep_are_refused() -> None:
    inner: dict[str, Any] = {"resources": []}
    for _ in range(20):
        nested = {"type": "Microsoft.Resources/deployments", "name": "n", "properties": {"template": inner}}
        inner = {"resources": [nested]}
    with pytest.raises(LimitError, match="nested"):
        arm.deploy(inner, {})


def _wanted(kind: str) -> bool:
    return kind.startswith(("microsoft.network/", "microsoft.compute/"))


@pytest.mark.parametrize("case", CASES)
def test_real_templates(case: str) -> None:
    """Each quickstart has the resources that were counted in it."""
    (index,) = (one for one in json.loads((FIXTURES / "index.json").read_text()) if one["name"] == case)
    template, given = (
        arm.read_json((FIXTURES / case / f"azuredeploy{part}.json").read_text()) for part in ("", ".parameters")
    )
    values = {name: one["value"] for name, one in arm.get(given, "parameters").items()}
    made = arm.deploy(template, values, wanted=_wanted)
    assert made.problems == made.notes == ()
    kinds = [one["type"].lower() for one in made.resources]
    for kind, key in (
        ("microsoft.network/virtualnetworks", "virtual_networks"),
        ("microsoft.compute/virtualmachines", "virtual_machines"),
        ("microsoft.network/networkinterfaces", "network_interfaces"),
        ("microsoft.network/networksecuritygroups", "security_groups"),
    ):
        assert kinds.count(kind) == index[key]
    assert made == arm.deploy(template, values, wanted=_wanted)
