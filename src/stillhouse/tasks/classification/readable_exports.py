"""A readable model as a program: plain Python, C and SQL without dependencies. No torch.

Legend: F features, K classes, J rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from stillhouse.core.checks import InputError
from stillhouse.tasks.classification.data.readers import EMPTY, WORD
from stillhouse.tasks.classification.readable import ReadableModel

_PYTHON = '''\
"""{title}; written by stillhouse. It needs Python 3.8 and nothing else.

    from {module} import predict
    predict({example})
"""

CLASSES = {classes}
BIAS = {bias}
# (what must be there, what must not, points of the classes by number)
RULES = [
{rules}
]
FIRST = {{}}  # numbers of rules by the first that must be there
for place, rule in enumerate(RULES):
    FIRST.setdefault(rule[0][0] if rule[0] else None, []).append(place)
{reader}

def scores({one}):
    """Points of each class."""
    there = features({one})
    found = list(BIAS)
    for place in sorted(place for name in (None, *there) for place in FIRST.get(name, ())):
        wanted, unwanted, points = RULES[place]
        if all(name in there for name in wanted) and not any(name in there for name in unwanted):
            for number, value in points.items():
                found[number] += value
    return found


def predict({one}):
    """The class with most points; of equal ones the first."""
    found = scores({one})
    return CLASSES[found.index(max(found))]


if __name__ == "__main__":
{main}
'''

_WORDS = '''
import re

LONGEST = {ngrams}  # words of a run


def features(text):
    """Words of two letters and more, in small letters, and runs of them."""
    words = re.findall({word!r}, text.lower())
    return {{" ".join(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)}}

'''

_TABLE = '''
COLUMNS = {columns}
EMPTY = {empty}


def number_of(cell):
    """The number in a cell; None where there is none."""
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def features(row):
    """What is true of a mapping from columns to values."""
    there = set()
    for column in COLUMNS:
        name, cell = column["name"], row[column["name"]]
        number = number_of(cell)
        absent = cell is None or (isinstance(cell, str) and cell.strip().lower() in EMPTY)
        absent = absent or (number is not None and (number != number or abs(number) == float("inf")))
        if absent:
            there.add(name + " is missing")
            continue
        if "cuts" in column and number is None:
            raise ValueError("column %r: expected a number, got %r" % (name, cell))
        there.update("%s > %.15g" % (name, cut) for cut in column.get("cuts", ()) if number > cut)
        there.update("%s = %s" % (name, value) for value in column.get("categories", ()) if str(cell) == value)
    return there

'''


def python_text(model: ReadableModel, module: str = "student") -> str:
    """One file with `predict(text)` or `predict(row)`."""
    words = model.reading["kind"] == "words"
    rules = []
    for rule in model.rules:
        wanted, unwanted = (tuple(name for name, there in rule.literals if there == side) for side in (True, False))
        points = {number: value for number, value in enumerate(rule.votes) if value}
        rules.append(f"    ({wanted!r}, {unwanted!r}, {points!r}),")
    if words:
        reader, example = _WORDS.format(ngrams=model.reading["ngrams"], word=WORD), '"the text of a message"'
        main = "    import sys\n\n    for line in sys.stdin:\n        print(predict(line))"
    else:
        reader = _TABLE.format(columns=model.reading["columns"], empty=sorted(EMPTY))
        example = "{" + ", ".join(f'"{column["name"]}": ...' for column in model.reading["columns"][:2]) + "}"
        main = (
            "    import csv\n    import sys\n\n    for row in csv.DictReader(sys.stdin):\n        print(predict(row))"
        )
    return _PYTHON.format(
        title=f"{len(model.rules)} rules for {len(model.class_names)} classes",
        module=module,
        example=example.replace('"""', "'''"),
        classes=list(model.class_names),
        bias=list(model.bias),
        rules="\n".join(rules),
        reader=reader,
        one="text" if words else "row",
        main=main,
    )


def sql_text(model: ReadableModel, table: str = "rows") -> str:
    """One SELECT over a table with the columns of the training rows: everything in it, and the class as `answer`.

    A number is a column of numbers, empty cells are NULL, as a database has them.

    Raises:
        InputError: words, of which SQL knows nothing.
    """
    if model.reading["kind"] != "table":
        raise InputError("--to sql: expected a student of a table, got one of words; take --to python, c or json")
    conditions = _conditions(model.reading["columns"])
    sums = []
    for number, bias in enumerate(model.bias):
        parts = [f"{bias!r}"]
        for rule in model.rules:
            if rule.votes[number]:
                asked = [conditions[name] if there else f"NOT {conditions[name]}" for name, there in rule.literals]
                parts.append(f"CASE WHEN {' AND '.join(asked)} THEN {rule.votes[number]!r} ELSE 0 END")
        sums.append("    " + "\n      + ".join(parts) + f" AS score_{number}")
    count = len(model.class_names)
    picks = []
    for number, name in enumerate(model.class_names):
        beats = [
            f"score_{number} {'>' if other < number else '>='} score_{other}"
            for other in range(count)
            if other != number
        ]
        picks.append(f"    WHEN {' AND '.join(beats)} THEN {_text(name)}")
    scored = ",\n".join(sums)
    return (
        f"-- {len(model.rules)} rules for {count} classes; written by stillhouse\n"
        "SELECT scored.*,\n  CASE\n" + "\n".join(picks) + "\n  END AS answer\n"
        f"FROM (\n  SELECT {quoted_name(table)}.*,\n{scored}\n  FROM {quoted_name(table)}\n) AS scored;\n"
    )


def _conditions(columns: Sequence[Any]) -> dict[str, str]:
    """What each feature of a table is in SQL; never NULL, so that it can be negated."""
    found = {}
    for column in columns:
        name, quoted = column["name"], quoted_name(column["name"])
        for cut in column.get("cuts", ()):
            found[f"{name} > {cut:.15g}"] = f"COALESCE({quoted} > {cut!r}, 0)"
        for value in column.get("categories", ()):
            found[f"{name} = {value}"] = f"COALESCE(CAST({quoted} AS TEXT) = {_text(value)}, 0)"
        found[f"{name} is missing"] = f"({quoted} IS NULL)"
    return found


def quoted_name(text: str) -> str:
    """A name of a column or table."""
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_C = """\
/* {title}; written by stillhouse. Features in their order:
   {name}_FEATURES bytes, each not 0 where the feature is there. Their names: {name}_feature_names. */
#include <stddef.h>

#define {name}_FEATURES {features}
#define {name}_CLASSES {classes}

const char *const {name}_feature_names[] = {{
{feature_names}
}};
const char *const {name}_class_names[] = {{{class_names}}};

static const double bias[] = {{{bias}}};
/* f: feature f must be there; -1 - f: it must not. starts[j]: where the literals of rule j begin */
static const int literals[] = {{{literals}}};
static const int starts[] = {{{starts}}};
/* points[j]: for class kinds[j] from rule owners[j] */
static const double points[] = {{{points}}};
static const int kinds[] = {{{kinds}}};
static const int owners[] = {{{owners}}};

static int holds(int rule, const unsigned char *there)
{{
    int i;
    for (i = starts[rule]; i < starts[rule + 1]; i++)
        if (literals[i] >= 0 ? !there[literals[i]] : there[-1 - literals[i]] != 0) return 0;
    return 1;
}}

void {name}_scores(const unsigned char *there, double *scores)
{{
    size_t i;
    for (i = 0; i < {name}_CLASSES; i++) scores[i] = bias[i];
    for (i = 0; i < {count}; i++)
        if (holds(owners[i], there)) scores[kinds[i]] += points[i];
}}

int {name}_predict(const unsigned char *there)
{{
    double scores[{name}_CLASSES];
    int k, best = 0;
    {name}_scores(there, scores);
    for (k = 1; k < {name}_CLASSES; k++)
        if (scores[k] > scores[best]) best = k;
    return best;
}}
"""


def c_text(model: ReadableModel, name: str = "student") -> str:
    """C99: tables and two loops over bytes of features.

    Raises:
        InputError: a name that C does not take.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(f"name: expected a letter, then letters, digits and _, got {name!r}")
    place = {feature: number for number, feature in enumerate(model.names)}
    literals, starts = [], [0]
    points = []
    for number, rule in enumerate(model.rules):
        literals += [place[one] if there else -1 - place[one] for one, there in rule.literals]
        starts.append(len(literals))
        points += [(value, kind, number) for kind, value in enumerate(rule.votes) if value]
    values, kinds, owners = zip(*points) if points else ((0.0,), (0,), (0,))
    return _C.format(
        title=f"{len(model.rules)} rules for {len(model.class_names)} classes",
        name=name,
        features=len(model.names),
        classes=len(model.class_names),
        feature_names=",\n".join(f"    {_c_string(one)}" for one in model.names),
        class_names=", ".join(map(_c_string, model.class_names)),
        bias=", ".join(map(repr, model.bias)),
        literals=_joined(literals or [0]),
        starts=_joined(starts),
        points=_joined(values),
        kinds=_joined(kinds),
        owners=_joined(owners),
        count=len(points),
    )


def _joined(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))


def _c_string(text: str) -> str:
    """Bytes that are not ASCII in octal, whose length is fixed."""
    found = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode("utf-8"))
    return f'"{found}"'


def json_text(model: ReadableModel) -> str:
    """What `ReadableModel.from_mapping` reads."""
    return json.dumps(model.to_mapping(), indent=1, ensure_ascii=False) + "\n"
