"""lab/powershell/evaluate.py and binding.py: objects through pipelines, with a table that is made for these tests."""

from collections.abc import Iterable
from typing import Any

import pytest

from lab.errors import LabError, UsageError
from lab.powershell import builtins
from lab.powershell.binding import Cmdlet, Given, Parameter, Table
from lab.powershell.evaluate import Failed, Session, check, mended
from lab.powershell.parser import parse
from lab.powershell.printing import printed
from lab.powershell.syntax import ScriptError
from lab.powershell.values import Thing, Value


def fruit(name: str, weight: int, *, ripe: bool | None = True) -> Thing:
    return Thing(kind="Test.Fruit", properties={"Name": name, "Weight": weight, "Ripe": ripe, "Tags": [name, "fruit"]})


class Basket:
    def __init__(self) -> None:
        self.fruits = [fruit("Apple", 3), fruit("Pear", 5, ripe=False), fruit("Plum", 1, ripe=None)]
        self.log: list[str] = []


def _get(basket: Basket, given: Given) -> Iterable[Value]:
    wanted = given.maybe("Name")
    if wanted == "Stone":
        raise UsageError("no fruit; it must be one; look again")
    return [f for f in basket.fruits if wanted in (None, f.properties["Name"])]


def _eat(basket: Basket, given: Given) -> Iterable[Value]:
    basket.log.append(f"{given.values['Fruit'].properties['Name']} {given.whole('Bites')} {given.flag('Raw')}")
    return [given.values["Fruit"]]


def _peel(basket: Basket, given: Given) -> Iterable[Value]:
    basket.log.append(f"peel {given.text('Name')}")
    return []


def _lock(basket: Basket, given: Given) -> Iterable[Value]:
    basket.log.append(f"{len(given.text('Password'))} {given.maybe('Level')} {given.values.get('Range')}")
    return []


TABLE: Table[Basket] = Table(
    (
        *builtins.CMDLETS,
        Cmdlet(name="Get-Fruit", parameters=(Parameter(name="Name", position=0, aliases=("Label",)),), run=_get),
        Cmdlet(
            name="Eat-Fruit",
            parameters=(
                Parameter(name="Fruit", kind="thing", accepts=("Test.Fruit",), required=True, piped="object"),
                Parameter(name="Bites", kind="whole", least=1, most=9),
                Parameter(name="Raw", kind="switch", sets=("raw",)),
                Parameter(name="Cooked", kind="switch", sets=("cooked",)),
                Parameter(name="Sugar", kind="whole", sets=("cooked",), required=True),
                Parameter(name="Spoon", kind="truth"),
            ),
            run=_eat,
        ),
        Cmdlet(
            name="Peel-Fruit",
            parameters=(Parameter(name="Name", required=True, piped="property"),),
            run=_peel,
        ),
        Cmdlet(
            name="Lock-Basket",
            parameters=(
                Parameter(name="Password", is_secret=True, required=True),
                Parameter(name="Level", accepts=("Low", "High")),
                Parameter(name="Range", kind="prefix"),
            ),
            run=_lock,
        ),
    )
)


def run(text: str, basket: Basket | None = None) -> str:
    script, _ = mended(parse(text, "s.ps1"), TABLE)
    check(script, TABLE)
    return "\n\n".join(printed(left) for left in Session(TABLE, basket or Basket()).run(script) if left)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(Get-Fruit Apple).Weight", "3"),
        ("$a = Get-Fruit -Label Apple\n$A.weight", "3"),
        ("$all = Get-Fruit\n$all.Name", "Apple\nPear\nPlum"),
        ("GET-FRUIT pear; 'x'", "x"),
        ("$n = 'Pear'; (get-fruit \"$n\").Name", "Pear"),
        ("(Get-Fruit -na Plum).Name", "Plum"),
        ('(Get-Fruit | ?{$_.Name -like "*P*l*"}).Name', "Apple\nPlum"),
        ("(Get-Fruit | where { $_.Weight -eq 3 -or $_.name -match '^plu' }).Name", "Apple\nPlum"),
        ("(Get-Fruit | Where-Object {-not $_.Ripe -and $_.Ripe -ne $null}).Name", "Pear"),
        ("(Get-Fruit | ? {!$_.Ripe -and $_.Name -notlike 'pe?r' -and $_.Name -notmatch 'x'}).Name", "Plum"),
        ("(Get-Fruit | ? {$_.Tags -eq 'PEAR'}).Name", "Pear"),
        ("(Get-Fruit | ? {$PSItem.Ripe -eq $true -and $_.Weight -eq '3'}).Name", "Apple"),
        ("Get-Fruit | ? {$false}", ""),
        ("'a', 2, 1.5, $true, 'Weight: ${x}'", "a\n2\n1.5\nTrue\nWeight: ${x}"),
        ('$f = Get-Fruit Pear\n"$f and ${f}"', "Test.Fruit and Test.Fruit"),
        (
            "'Central US' -eq 'central us'; 1 -eq '1'; 'a[b' -like 'a`[b'; $null -eq $null",
            "True\n\nTrue\n\nFalse\n\nTrue",
        ),
    ],
)
def test_what_a_script_prints(text: str, said: str) -> None:
    assert run(text) == said


def test_objects_of_few_properties_are_a_table_of_many_a_list_and_nothing_is_blank() -> None:
    assert run("Get-Fruit") == (
        "Name  Weight Ripe  Tags\n"
        "----  ------ ----  ----\n"
        "Apple 3      True  {Apple, fruit}\n"
        "Pear  5      False {Pear, fruit}\n"
        "Plum  1            {Plum, fruit}"
    )
    many = Thing(kind="T", properties={"A": 1, "Bcd": None, "E": [], "F": "x\ny", "G": fruit("Fig", 1)})
    one = "A   : 1\nBcd :\nE   : {}\nF   : x\n      y\nG   : Test.Fruit"
    assert printed([many, many, "end"]) == f"{one}\n\n{one}\n\nend"
    assert printed([Thing(kind="T", properties={"A": "x\ny", "B": ""})]) == "A    B\n-    -\nx..."


def test_each_object_of_a_pipeline_comes_to_the_next_cmdlet() -> None:
    basket = Basket()
    run("Get-Fruit | Eat-Fruit -Bites 2 -Raw | Peel-Fruit", basket)
    assert basket.log == [
        "Apple 2 True", "Pear 2 True", "Plum 2 True", "peel Apple", "peel Pear", "peel Plum",
    ]  # fmt: skip
    run("$p = Get-Fruit Pear; Eat-Fruit -Fruit $p -Raw:$false; Peel-Fruit -N other", basket)
    assert basket.log[6:] == ["Pear None False", "peel other"]


def test_a_password_may_have_any_characters_that_powershell_lets_a_word_have() -> None:
    basket = Basket()
    run("Lock-Basket -Password MyP@ssw0rd!! -Level high -Range 10.1.2.3/16", basket)
    assert basket.log == ["12 High 10.1.0.0/16"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Get-Fruits", '1:1: "Get-Fruits"; a cmdlet that the lab knows must be here; did you mean "Get-Fruit"?'),
        (
            "Get-Fruit | get-fruti",
            '1:13: "get-fruti"; a cmdlet that the lab knows must be here; did you mean "Get-Fruit"?',
        ),
        (
            "(Get-Fruit | ? { Bet-Fruit }).X",
            ('1:18: "Bet-Fruit"; a cmdlet that the lab knows must be here; did you mean "Get-Fruit"?'),
        ),
        (
            "Get-Fruit -Nme a",
            ('1:11: "-Nme"; it must be one of the parameters of Get-Fruit that the lab plays; did you mean "Name"?'),
        ),
        (
            "Get-Fruit | Eat-Fruit -S 3",
            (
                '1:23: "-S", which may be -Sugar and -Spoon; it must be one of the parameters of '
                "Eat-Fruit that the lab plays; write more of its name"
            ),
        ),
        (
            "Get-Fruit | Eat-Fruit -Raw -Cooked",
            (
                "1:28: -Raw and -Cooked together; parameters of Eat-Fruit that exclude one "
                "another are not used together; keep one"
            ),
        ),
        ("Get-Fruit | Eat-Fruit -Cooked", "1:13: no -Sugar; Eat-Fruit must have -Sugar; add it"),
        ("Eat-Fruit -Raw", "1:1: no -Fruit; Eat-Fruit must have -Fruit; pipe it to Eat-Fruit, or add the parameter"),
        (
            "Get-Fruit -Name",
            "1:11: a parameter without its value; -Name of Get-Fruit must have a value after it; add it",
        ),
        (
            "Get-Fruit -Name -Label x",
            ("1:11: a parameter without its value; -Name of Get-Fruit must have a value after it; add it"),
        ),
        ("Get-Fruit -Name a -Label b", "1:19: a second -Name; a parameter is given once; remove one of the two"),
        (
            "Get-Fruit a b",
            (
                "1:13: a value without a parameter; the values of Get-Fruit follow the names of their "
                "parameters; add the parameter, or remove the value"
            ),
        ),
        (
            "Get-Fruit | Eat-Fruit -Raw yes",
            (
                "1:28: a value without a parameter; the values of Eat-Fruit follow the names of "
                "their parameters; add the parameter, or remove the value"
            ),
        ),
    ],
)
def test_what_is_refused_before_anything_runs(text: str, said: str) -> None:
    basket = Basket()
    with pytest.raises(ScriptError) as refused:
        run(f"Peel-Fruit -Name first; {text}", basket)
    place, _, rest = said.partition(": ")
    line, column = place.split(":")
    assert str(refused.value) == f"s.ps1:{line}:{int(column) + len('Peel-Fruit -Name first; ')}: {rest}"
    assert basket.log == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Get-Fruit $nme", "1:11: $nme; a variable is assigned to before it is used; none has one yet"),
        ("$a = 'x'; \"$aa\"", "1:12: $aa; a variable is assigned to before it is used; variables with a value: $a"),
        ("$f = Get-Fruit; $f.Nam", '1:19: ".Nam"; it must be a property of Fruit; known: Name, Weight, Ripe, Tags'),
        (
            "$f = Get-Fruit None; $f.Name",
            (
                "1:24: nothing; what has a property Name must be before the point; see what its "
                "variable or pipeline found"
            ),
        ),
        (
            "'x'.Length",
            (
                "1:4: a plain value; what has a property Length must be before the point; see what its variable or "
                "pipeline found"
            ),
        ),
        (
            "Get-Fruit (Get-Fruit None)",
            (
                "1:11: nothing; -Name must be a value; assign the variable first, or see whether its "
                "pipeline found anything"
            ),
        ),
        (
            "Get-Fruit (Get-Fruit)",
            ('1:11: "Test.Fruit Test.Fruit Test.Fruit"; -Name must be one value; choose one by Where-Object'),
        ),
        ("Get-Fruit (Get-Fruit Pear)", '1:11: "Test.Fruit"; -Name must be a text; correct it'),
        ("Get-Fruit | Eat-Fruit -Bites many", '1:30: "many"; -Bites must be a whole number from 1 to 9; correct it'),
        ("Get-Fruit | Eat-Fruit -Bites 10", '1:30: "10"; -Bites must be a whole number from 1 to 9; correct it'),
        ("Get-Fruit | Eat-Fruit -Spoon 1", '1:30: "1"; -Spoon must be $true or $false; correct it'),
        ("Get-Fruit | ? Name", '1:15: "Name"; -FilterScript must be a block in braces; correct it'),
        ("'x' | Eat-Fruit", '1:7: "x"; -Fruit must be what Fruit is; begin the pipeline with its cmdlet'),
        (
            "'x' | Peel-Fruit",
            (
                "1:7: another object; Peel-Fruit takes objects with Name from the pipeline; begin the pipeline "
                "otherwise, or add -Name"
            ),
        ),
        (
            "'x' | Get-Fruit",
            '1:7: a "|" before it; Get-Fruit takes nothing from the pipeline; write it in a line of its own',
        ),
        (
            "Get-Fruit | ? { $_.Name -match '(' }",
            (
                "1:32: missing ), unterminated subpattern at position 0; it must be a "
                "regular expression; correct it, or use -like"
            ),
        ),
        ("Lock-Basket -Level Middle -Password a", '1:20: "Middle"; -Level must be one of Low, High; correct it'),
        (
            "Lock-Basket -Range 10.1 -Password a",
            ('1:20: "10.1"; -Range must be an IPv4 prefix, such as 10.1.0.0/16; correct it'),
        ),
    ],
)
def test_what_is_refused_where_it_runs(text: str, said: str) -> None:
    with pytest.raises(ScriptError) as refused:
        run(text)
    assert str(refused.value) == f"s.ps1:{said}"


@pytest.mark.parametrize(
    "text",
    [
        "Lock-Basket -Password Sec$ret",
        "Lock-Basket -Password `\n Sec$ret",
        "Lock-Basket -Password (Get-Fruit).Secret",
        "Lock-Basket -Password Se;cret",
        "Lock-Basket -Password ''Secret",
        "Lock-Basket -Level Low Secret -Password a",
        "Lock-Basket -Password Secret -Level Secret",
    ],
)
def test_no_refusal_quotes_a_password(text: str) -> None:
    with pytest.raises(ScriptError) as refused:
        run(text)
    assert "ret" not in str(refused.value).replace("secret", "")


def test_what_a_cmdlet_cannot_do_is_said_with_its_place_and_ends_as_its_cause_does() -> None:
    basket = Basket()
    with pytest.raises(Failed) as failed:
        run("Peel-Fruit -Name a\nGet-Fruit Stone", basket)
    assert str(failed.value) == "s.ps1:2:1: Get-Fruit: no fruit; it must be one; look again"
    assert failed.value.exit_code == UsageError.exit_code != LabError.exit_code
    assert basket.log == ["peel a"]


# --- the backtick of Instance level public IP, 2016-02-10
# -----------------------------------------------------------------


def test_a_cmdlet_that_a_backtick_made_a_value_begins_its_own_statement_and_that_is_said() -> None:
    basket = Basket()
    text = "$f = Get-Fruit|?{$_.Name -like 'P*r'} `\nGet-Fruit -Name $f.Name `\n| Peel-Fruit"
    script, notes = mended(parse(text, "s.ps1"), TABLE)
    assert len(script.statements) == 2
    assert [str(note) for note in notes] == [
        (
            "s.ps1:1:39: the backtick makes Get-Fruit a value of Where-Object, which PowerShell refuses; read as the "
            "end of the command, so that the next line is a command of its own"
        )
    ]
    run(text, basket)
    assert basket.log == ["peel Pear"]


@pytest.mark.parametrize("text", ["Get-Fruit -Name `\nGet-Fruit", "Get-Fruit Get-Fruit", "Get-Fruit `\n'Get-Fruit'"])
def test_a_name_that_may_be_a_value_stays_one(text: str) -> None:
    _, notes = mended(parse(text, "s.ps1"), TABLE)
    assert notes == ()


def test_things_are_what_they_are_to_whoever_holds_them() -> None:
    """What a cmdlet changes in an object is seen through a variable too."""
    basket = Basket()
    session: Session[Any] = Session(TABLE, basket)
    list(session.run(parse("$a = Get-Fruit Apple; $b = $a", "s")))
    assert session.variables["a"] is session.variables["b"]
