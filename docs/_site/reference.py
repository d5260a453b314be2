"""Reference pages made from the source: keys of the configuration, commands of the command line.

    python docs/_site/reference.py          # write both anew

A key's meaning is its ``description`` in the schema and its comment in config/config.yaml.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from ldae.cli.main import COMMANDS, HELP, ldae

REPO = Path(__file__).parents[2]
SCHEMA, DEFAULTS = "workflow/schemas/config.schema.yaml", "config/config.yaml"
CONFIGURATION, COMMAND_PAGE = "docs/configuration.md", "docs/commands.md"
ENTRY = "NAME"  # stands for a key that the user names, such as a cohort
COMMENT = re.compile(r"(?:^|\s)#\s?(?P<text>.*)$")
EXAMPLE = re.compile(r"\w+: \[")  # a key in a comment, which the schema describes
LOWER = ("mm", "cuda", "participant_id")  # words that a sentence may begin with
RANGES = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}"}
WORDS = {"null": "`null`", "boolean": "`true`, `false`", "integer": "integer", "string": "text"}

CONFIGURATION_INTRO = """\
# All keys of the configuration

Made from the schema (`workflow/schemas/config.schema.yaml`) and from the comments of
`config/config.yaml` by `python docs/_site/reference.py`: change those, not this page.
[How configuration files work](../config/README.md) says which file wins and what a changed key
runs again.

**Ours** marks a choice of this project where the paper is silent; a table or section without it is
one of the paper (Lozupone et al. 2026). The default is that of `config/config.yaml`. A key with a
dash as default is absent there and may be set. `config/demo.yaml` shows another set of values.
"""
COMMAND_INTRO = """\
# Commands of `ldae`

What `ldae COMMAND --help` prints, made by `python docs/_site/reference.py`. Examples with
explanations are in [The trained models on your own scans](own-scans.md).

Exit status: 0 if all is done; 1 after an error; 2 for options that do not exist or do not go
together; 3 if some of several scans failed; 130 after Ctrl-C, 143 after SIGTERM.

To complete commands, options and files by the tab key in bash (zsh and fish: their name in place of
`bash`): `eval "$(_LDAE_COMPLETE=bash_source ldae)"`, in `~/.bashrc` for every shell.
"""


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        path: Its names from the top, ``("ldae", "encoder", "plane")``.
        schema: What the schema says of it, references resolved.
        default: Its value in config/config.yaml as written there, or a dash.
        comment: Its comment there.
        section: Whether it holds further keys of fixed names.
    """

    path: tuple[str, ...]
    schema: Mapping[str, Any]
    default: str
    comment: str
    section: bool

    @property
    def meaning(self) -> str:
        """Description and comment, as sentences with links to the pages that they name."""
        parts = [part for part in (self.schema.get("description", ""), self.comment) if part]
        text = " ".join(f"{_sentence(part).rstrip('.;')}." for part in parts)
        return re.sub(r"docs/([\w-]+\.md)", r"[docs/\1](\1)", text)


def all_keys() -> list[Key]:
    """All keys that the schema allows, in its order."""
    schema = yaml.safe_load((REPO / SCHEMA).read_text())
    source = (REPO / DEFAULTS).read_text()
    written = dict(_written(source))
    return list(_keys(schema, (), schema["$defs"], written))


def _keys(schema, path, definitions, written) -> Iterator[Key]:
    """Keys below a part of the schema."""
    named = dict(schema.get("properties", {}))
    if _described(extra := schema.get("additionalProperties")):
        named[ENTRY] = extra
    named |= {
        pattern.strip("^$").replace("[a-z0-9_]+", "*"): rule
        for pattern, rule in schema.get("patternProperties", {}).items()
    }
    for name, rule in named.items():
        rule = _resolved(rule, definitions)
        here = (*path, name)
        below = rule.get("properties", {})
        section = any(_described(part) or (*here, key) in written for key, part in below.items())
        default, comment = written.get(here, ("–", ""))
        yield Key(here, rule, default, comment, section)
        if section or _described(rule.get("additionalProperties")):
            yield from _keys(rule, here, definitions, written)


def _described(rule: object) -> bool:
    """Whether the schema says what a key is."""
    return isinstance(rule, Mapping) and bool({"description", "$ref"} & rule.keys())


def _resolved(rule: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """A rule with its references to ``$defs`` merged in."""
    if "anyOf" in rule:
        return {**rule, "anyOf": [_resolved(option, definitions) for option in rule["anyOf"]]}
    if "items" in rule:
        rule = {**rule, "items": _resolved(rule["items"], definitions)}
    if "$ref" in rule:
        return definitions[rule["$ref"].rpartition("/")[2]] | {
            key: value for key, value in rule.items() if key != "$ref"
        }
    return rule


def _written(source: str) -> Iterator[tuple[tuple[str, ...], tuple[str, str]]]:
    """Each key of config/config.yaml: value as written, and the comment beside and below it."""
    starts: dict[int, list] = {}
    for path, value in _places(yaml.compose(source), ()):
        starts.setdefault(value.start_mark.line, []).append((path, value))
    found: dict[tuple[str, ...], tuple[str, list[str]]] = {}
    path = None  # the key that a line's comment is of
    for number, line in enumerate(source.splitlines()):
        comment = COMMENT.search(line)
        for here, value in starts.get(number, []):
            text = source[value.start_mark.index : value.end_mark.index].strip()
            found[here] = ("" if isinstance(value, yaml.MappingNode) and value.value else text, [])
        if number in starts:
            path = starts[number][0][0]
        elif not line.lstrip().startswith("#") or not line.startswith(" "):
            path = None
        if path and comment and not EXAMPLE.match(comment["text"]):
            found[path][1].append(comment["text"].strip())
    for path, (text, comments) in found.items():
        yield path, (text, " ".join(comments))


def _places(node: yaml.MappingNode, path: tuple[str, ...]) -> Iterator:
    """Path and value of each key; of a section a node at the line of its name."""
    for key, value in node.value:
        here = (*path, key.value)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield here, yaml.MappingNode("", value.value, key.start_mark, key.end_mark)
            yield from _places(value, here)
        else:
            yield here, value


def allowed(rule: Mapping[str, Any]) -> str:
    """What a key may be, in words."""
    if "enum" in rule:
        return ", ".join(f"`{_yaml(value)}`" for value in rule["enum"])
    if "anyOf" in rule:
        return ", ".join(allowed(option) for option in rule["anyOf"])
    if rule.get("pattern") == "^auto$":
        number = next(kind for kind in rule["type"] if kind != "string")
        return f"`auto`, {_kind(number, rule)}"
    kinds = rule.get("type", "object")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return ", ".join(_kind(kind, rule) for kind in kinds)


def _kind(kind: str, rule: Mapping[str, Any]) -> str:
    if kind == "array":
        items = rule.get("items", {})
        inner = allowed(items) if items else "values"
        least, most = rule.get("minItems"), rule.get("maxItems")
        count = f"{least} of" if least and least == most else "list of"
        return f"{count} {inner}"
    if kind == "object":
        names = rule.get("properties") or rule.get("propertyNames", {}).get("enum", [])
        return f"keys {', '.join(f'`{name}`' for name in names)}" if names else "keys of any name"
    word = WORDS.get(kind, kind)
    if kind in ("integer", "number"):
        bounds = [text.format(_yaml(rule[key])) for key, text in RANGES.items() if key in rule]
        return " ".join([word, *bounds])
    return word


def _yaml(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0].strip("'\"")


def configuration_page() -> str:
    """The page of all keys, a table for each section at the top."""
    sections: dict[str, list[Key]] = {}
    for key in all_keys():
        sections.setdefault(key.path[0], []).append(key)
    alone = [found[0] for found in sections.values() if len(found) == 1]
    lines = [CONFIGURATION_INTRO, "## At the top\n", *_table(alone, 0)]
    for name, found in sections.items():
        if len(found) > 1:
            lines += [f"\n## {name}\n"]
            lines += [f"{found[0].meaning}\n"] if found[0].meaning else []
            lines += _table(found[1:], 1)
    return "\n".join(lines) + "\n"


def _table(found: list[Key], above: int) -> list[str]:
    """Rows of keys without the ``above`` names at the top."""
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key in found:
        name = f"`{'.'.join(key.path[above:])}`"
        default = f"`{key.default}`" if key.default not in ("", "–") else key.default
        values = [name, "" if key.section else default, "" if key.section else allowed(key.schema)]
        rows.append(f"| {' | '.join(map(_cell, (*values, key.meaning)))} |")
    return rows


def _sentence(text: str) -> str:
    return text if text.startswith(LOWER) else text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def commands_page() -> str:
    """The page of all commands, with the text of their help."""
    lines = [COMMAND_INTRO, "| command | |", "|---|---|"]
    lines += [f"| [`ldae {name}`](#ldae-{name}) | {text} |" for name, text in HELP.items()]
    for name in COMMANDS:
        lines += [f"\n## ldae {name}\n", "```text", *_help(name), "```"]
    return "\n".join(lines) + "\n"


def _help(name: str) -> list[str]:
    top = click.Context(ldae, info_name="ldae", terminal_width=90, max_content_width=90)
    command = ldae.get_command(top, name)
    context = click.Context(command, info_name=name, parent=top, max_content_width=90)
    return command.get_help(context).rstrip().splitlines()


if __name__ == "__main__":
    (REPO / CONFIGURATION).write_text(configuration_page())
    (REPO / COMMAND_PAGE).write_text(commands_page())
