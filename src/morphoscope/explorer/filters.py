"""Filters: an expression such as ``p_Merging > 0.8 and out_of_distribution < 1``, as a safe SQL condition.

The expression is parsed here, and SQL is written anew from what was understood: names become quoted columns
of the table, every value becomes a parameter. What the grammar does not know (subqueries, file readers,
settings, several statements) has no way to the database, whatever its version::

    condition  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation   = "not" negation | comparison
    comparison = sum [ ("=" | "!=" | "<" | "<=" | ">" | ">=") sum | [ "not" ] "between" sum "and" sum
               | [ "not" ] "in" "(" value { "," value } ")" | [ "not" ] "like" text | "is" [ "not" ] "null" ]
    sum        = product { ("+" | "-") product }
    product    = unary { ("*" | "/") unary }
    unary      = "-" unary | column | number | text | "true" | "false"
               | function "(" sum ")" | "(" condition ")"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from morphoscope.errors import UsageError, did_you_mean

Kind = Literal["number", "text", "boolean"]
LONGEST = 40_000  # characters
MOST_VALUES = 5_000  # in a list
DEEPEST = 40  # nested parentheses
FUNCTIONS = {
    "abs": "abs",
    "sqrt": "sqrt",
    "ln": "ln",
    "log10": "log10",
    "exp": "exp",
    "round": "round",
    "lower": "lower",
    "length": "length",
}
_OF_TEXT = ("lower", "length")
_WORDS = ("and", "or", "not", "between", "in", "like", "is", "null", "true", "false")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*(?:\.\w+)*)"
    r'|(?P<quoted>"(?:[^"]|"")*")'
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<sign><=|>=|<>|!=|==|[-+*/()=<>,]))"
)
_COMPARISONS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_HINT = "an expression such as p_Merging > 0.8 and out_of_distribution < 1 was expected"


@dataclass(frozen=True)
class Condition:
    """A condition on the rows of the table.

    Attributes:
        sql: with ``?`` for every value; "true": all rows.
        values: of the parameters.
        columns: that it names, in the order of their first use.
    """

    sql: str = "true"
    values: tuple[float | str | bool, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class _Part:
    sql: str
    kind: Kind


def parse_filter(expression: str, columns: Mapping[str, Kind]) -> Condition:
    """Read a filter.

    Args:
        expression: what a person wrote; empty: all rows.
        columns: of the table, with the kind of their values.

    Raises:
        UsageError: it is no expression of the grammar above, or names no column; the message says where.
    """
    if not expression.strip():
        return Condition()
    if len(expression) > LONGEST:
        raise UsageError(f"the filter has {len(expression):,} characters; at most {LONGEST:,} were expected")
    return _Parser(expression, columns).read()


def quoted(column: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + column.replace('"', '""') + '"'


def _tokens(expression: str) -> list[_Token]:
    found, at = [], 0
    while expression[at:].strip():
        match = _TOKEN.match(expression, at)
        if match is None:
            wrong = expression[at:].lstrip()[:1]
            what = "a text that does not end" if wrong in "'\"" else f"'{wrong}'"
            raise UsageError(f"the filter cannot be understood at {what} ({_where(expression, at)}); {_HINT}")
        kind = match.lastgroup or ""
        found.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return found


def _where(expression: str, at: int) -> str:
    return f"character {len(expression[:at].rstrip()) + 1 if at else 1}"


class _Parser:
    """Recursive descent; the grammar is above."""

    def __init__(self, expression: str, columns: Mapping[str, Kind]) -> None:
        self.tokens = _tokens(expression)
        self.columns = columns
        self.folded = {name.casefold(): name for name in reversed(list(columns))}
        self.at = 0
        self.depth = 0
        self.values: list[float | str | bool] = []
        self.used: dict[str, None] = {}

    def read(self) -> Condition:
        part = self._condition()
        if self.at < len(self.tokens):
            raise self._unexpected()
        if part.kind != "boolean":
            raise UsageError(f"the filter is a {part.kind}, not a condition; {_HINT}")
        return Condition(part.sql, tuple(self.values), tuple(self.used))

    # Tokens.

    def _peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _next_is(self, *texts: str) -> str | None:
        """Which of some words or signs comes next; it is not taken."""
        token = self._peek()
        if token is None or token.kind not in ("name", "sign"):
            return None
        text = token.text.lower() if token.kind == "name" else token.text
        return text if text in texts else None

    def _take(self, *texts: str) -> str | None:
        found = self._next_is(*texts)
        self.at += found is not None
        return found

    def _expect(self, text: str) -> None:
        if self._take(text) is None:
            raise self._unexpected(f"'{text}' was expected")

    def _unexpected(self, hint: str = _HINT) -> UsageError:
        token = self._peek()
        if token is None:
            return UsageError(f"the filter ends too early; {hint}")
        return UsageError(
            f"the filter cannot be understood at '{token.text}' (character {token.at + 1}); {hint}"
        )

    # Grammar.

    def _condition(self) -> _Part:
        self.depth += 1
        if self.depth > DEEPEST:
            raise UsageError(f"the filter has more than {DEEPEST} nested parentheses")
        part = self._joined("or", lambda: self._joined("and", self._negation))
        self.depth -= 1
        return part

    def _joined(self, word: str, inner) -> _Part:
        parts = [inner()]
        while self._take(word):
            parts.append(inner())
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            if part.kind != "boolean":
                raise UsageError(f"'{word}' joins conditions, and one side is a {part.kind}; {_HINT}")
        return _Part("(" + f" {word} ".join(part.sql for part in parts) + ")", "boolean")

    def _negation(self) -> _Part:
        negated = 0
        while self._take("not"):
            negated += 1
        part = self._comparison()
        if not negated:
            return part
        if part.kind != "boolean":
            raise UsageError(f"'not' needs a condition, and a {part.kind} follows; {_HINT}")
        return _Part(f"(not {part.sql})", "boolean") if negated % 2 else part

    def _comparison(self) -> _Part:
        left = self._sum()
        sign = self._take(*_COMPARISONS)
        if sign is not None:
            right = self._sum()
            self._alike(left, right)
            return _Part(f"({left.sql} {_COMPARISONS[sign]} {right.sql})", "boolean")
        if self._take("is"):
            negated = " not" if self._take("not") else ""
            self._expect("null")
            return _Part(f"({left.sql} is{negated} null)", "boolean")
        negated = " not" if self._take("not") else ""
        if self._take("between"):
            low = self._sum()
            self._expect("and")
            high = self._sum()
            self._alike(left, low)
            self._alike(left, high)
            return _Part(f"({left.sql}{negated} between {low.sql} and {high.sql})", "boolean")
        if self._take("in"):
            return _Part(f"({left.sql}{negated} in ({', '.join(self._list(left))}))", "boolean")
        if self._take("like"):
            right = self._sum()
            if left.kind != "text" or right.kind != "text":
                raise UsageError("'like' compares texts, such as predicted like 'Edge%'")
            return _Part(f"({left.sql}{negated} like {right.sql})", "boolean")
        if negated:
            raise self._unexpected("'between', 'in' or 'like' was expected after 'not'")
        return left

    def _list(self, left: _Part) -> list[str]:
        self._expect("(")
        parts: list[str] = []
        while True:
            part = self._sum()
            self._alike(left, part)
            parts.append(part.sql)
            if len(parts) > MOST_VALUES:
                raise UsageError(f"a list of the filter has more than {MOST_VALUES:,} values")
            if not self._take(","):
                break
        self._expect(")")
        return parts

    def _sum(self) -> _Part:
        return self._arithmetic(("+", "-"), lambda: self._arithmetic(("*", "/"), self._unary))

    def _arithmetic(self, signs: tuple[str, ...], inner) -> _Part:
        part = inner()
        while sign := self._take(*signs):
            right = inner()
            for side in (part, right):
                if side.kind != "number":
                    raise UsageError(f"'{sign}' needs numbers, and one side is a {side.kind}")
            # A division by zero is unknown, not an error of the whole query.
            divisor = f"nullif({right.sql}, 0)" if sign == "/" else right.sql
            part = _Part(f"({part.sql} {sign} {divisor})", "number")
        return part

    def _unary(self) -> _Part:
        if self._take("-"):
            self.depth += 1
            if self.depth > DEEPEST:
                raise UsageError(f"the filter has more than {DEEPEST} signs in a row")
            part = self._unary()
            self.depth -= 1
            if part.kind != "number":
                raise UsageError(f"'-' needs a number, and a {part.kind} follows")
            return _Part(f"(-{part.sql})", "number")
        if self._take("("):
            part = self._condition()
            self._expect(")")
            return part
        return self._value()

    def _value(self) -> _Part:
        token = self._peek()
        if token is None or token.kind == "sign":
            raise self._unexpected()
        word = token.text.lower()
        if token.kind == "name" and word in _WORDS and word not in ("true", "false"):
            raise self._unexpected()
        self.at += 1
        if token.kind == "number":
            return self._parameter(float(token.text), "number")
        if token.kind == "text":
            return self._parameter(token.text[1:-1].replace("''", "'"), "text")
        if token.kind == "name" and word in ("true", "false"):
            return self._parameter(word == "true", "boolean")
        if token.kind == "name" and self._next_is("("):
            return self._function(token)
        name = token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text
        return self._column(name)

    def _parameter(self, value: float | str | bool, kind: Kind) -> _Part:
        self.values.append(value)
        return _Part("?", kind)

    def _function(self, token: _Token) -> _Part:
        name = token.text.lower()
        if name not in FUNCTIONS:
            raise UsageError(
                f"the filter knows no function '{token.text}'{did_you_mean(name, FUNCTIONS, 'functions')}"
            )
        self._expect("(")
        part = self._sum()
        self._expect(")")
        wanted: Kind = "text" if name in _OF_TEXT else "number"
        if part.kind != wanted:
            raise UsageError(f"{name}() takes a {wanted}, not a {part.kind}")
        if wanted == "number":  # the logarithm of what has none is unknown, not an error of the whole query
            return _Part(f"nullif(try({FUNCTIONS[name]}({part.sql})), 'nan'::DOUBLE)", "number")
        return _Part(f"{FUNCTIONS[name]}({part.sql})", "text" if name == "lower" else "number")

    def _column(self, name: str) -> _Part:
        found = name if name in self.columns else self.folded.get(name.casefold())
        if found is None:
            raise UsageError(f"there is no column '{name}'{did_you_mean(name, self.columns, 'columns')}")
        self.used[found] = None
        return _Part(quoted(found), self.columns[found])

    def _alike(self, left: _Part, right: _Part) -> None:
        if left.kind != right.kind:
            raise UsageError(
                f"the filter compares a {left.kind} with a {right.kind} ({self._shown(left)} and "
                f"{self._shown(right)}); texts stand in single quotes, as in predicted = 'Merging'"
            )

    def _shown(self, part: _Part) -> str:
        return part.sql.strip('"') if part.sql.startswith('"') else f"a {part.kind}"
