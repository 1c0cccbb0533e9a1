"""Writes mutants into the source, each of them behind a switch, so that all of them are built at once."""

import re
from dataclasses import dataclass, field

import tree_sitter_rust
from tree_sitter import Language, Parser

PARSER = Parser(Language(tree_sitter_rust.language()))
AT, IS = "crate::switch::at", "crate::switch::is"
# Around what was written for mutants, to know from the place of an error which it is.
OPENS, CLOSES = "/*<{0}*/", "/*{0}>*/"
MARK = re.compile(rb"/\*(?:<([\d,]+)|([\d,]+)>)\*/")


@dataclass
class Site:
    """A place in a file, and what is written there."""

    start: int
    end: int
    node: object
    mutants: list = field(default_factory=list)


class NotPlaced(Exception):
    """There is no way to write this mutant behind a switch."""


def marked(numbers, text):
    names = ",".join(map(str, numbers))
    return f"{OPENS.format(names)}{text}{CLOSES.format(names)}"


class File:
    """A source file and its mutants. A mutant is what cargo-mutants lists, with a "number"; those of one place have numbers in a row."""

    def __init__(self, text):
        self.text = text
        self.lines = [0]
        for line in text.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.root = PARSER.parse(text).root_node

    def offset(self, place):
        """cargo-mutants counts characters, from 1."""
        start = self.lines[place["line"] - 1]
        line = self.text[start : self.lines[place["line"]]].decode()
        return start + len(line[: place["column"] - 1].encode())

    def place(self, mutant):
        """The site of a mutant."""
        start, end = self.offset(mutant["span"]["start"]), self.offset(mutant["span"]["end"])
        node = self.root.descendant_for_byte_range(start, end)
        genre = mutant["genre"]
        if is_constant(node):
            raise NotPlaced("in a constant")
        if genre == "FnValue":
            if "impl " in mutant["function"]["return_type"]:
                raise NotPlaced("a function that returns `impl`")
            return Site(start, start, None)
        if genre in ("BinaryOperator", "UnaryOperator"):
            kinds = ("binary_expression", "compound_assignment_expr", "unary_expression")
            while node and node.type not in kinds:
                node = node.parent
            operator = node and (node.child_by_field_name("operator") or node.children[0])
            if not node or operator.start_byte != start:
                raise NotPlaced("a condition with `let`")
            if any(child.type in ("let_condition", "let_chain") for child in node.children):
                raise NotPlaced("a condition with `let`")
            return Site(node.start_byte, node.end_byte, node)
        if genre == "MatchArm":
            while node and node.type != "match_arm":
                node = node.parent
            if not node:
                raise NotPlaced("no arm")
            if not any(arm.type == "match_arm" and arm.child_by_field_name("pattern").text == b"_" for arm in node.parent.children):
                raise NotPlaced("no other arm takes everything")
            at = node.child_by_field_name("pattern").end_byte
            return Site(at, at, node)
        if genre == "MatchArmGuard":
            if self.text[start:end].lstrip().startswith(b"let ") or b" let " in self.text[start:end]:
                raise NotPlaced("a guard with `let`")
            return Site(start, end, None)
        if genre == "StructField":
            fields = ("field_initializer", "shorthand_field_initializer")
            # With its comma it is no node of its own.
            if node.type == "field_initializer_list":
                node = next((child for child in node.children if child.start_byte == start), None)
            while node and node.type not in fields:
                node = node.parent
            if not node:
                raise NotPlaced("no field")
            return Site(node.start_byte, node.end_byte, node)
        raise NotPlaced(genre)

    def write(self, mutants):
        """The source with these mutants in it."""
        sites = {}
        for mutant in mutants:
            site = self.place(mutant)
            # What is put before the first statement of a function comes before that statement, and a guard before what it consists of.
            key = (site.start, genre_order(mutant), -site.end)
            sites.setdefault(key, site).mutants.append(mutant)
        self.sites = [sites[key] for key in sorted(sites)]
        return self.between(0, len(self.text), 0).encode()

    def between(self, start, end, index):
        """The source from start to end, with the sites from that index on."""
        out, at = [], start
        while index < len(self.sites) and self.sites[index].start < end:
            site = self.sites[index]
            out.append(self.raw(at, site.start))
            out.append(self.site(site, index))
            at = site.end
            index += 1
            while index < len(self.sites) and self.sites[index].start < at:
                index += 1
        out.append(self.raw(at, end))
        return "".join(out)

    def inner(self, node, index):
        """The source of a node that is within the site of that index."""
        index += 1
        while index < len(self.sites) and self.sites[index].start < node.start_byte:
            index += 1
        return self.between(node.start_byte, node.end_byte, index)

    def raw(self, start, end):
        return self.text[start:end].decode()

    def site(self, site, index):
        numbers = [mutant["number"] for mutant in site.mutants]
        # With 0: an error there is no error of the mutants, but the switch does not fit.
        whole = [*numbers, 0]
        genre = site.mutants[0]["genre"]
        node = site.node
        # There may be gaps: what does not compile is not written.
        call = f"{AT}({numbers[0]}, {numbers[-1] - numbers[0] + 1})"
        if genre == "FnValue":
            returns = [f"if {IS}({m['number']}) {{ return {m['replacement']}; }} " for m in site.mutants]
            return "".join(marked([m["number"]], text) for m, text in zip(site.mutants, returns))
        if genre == "MatchArm":
            return marked(whole, f" if !{IS}({numbers[0]})")
        if genre == "MatchArmGuard":
            arms = [f"{mutant['number'] - numbers[0]} => {mutant['replacement']}, " for mutant in site.mutants]
            return marked(whole, f"(match {call} {{ {''.join(arms)}_ => {self.between(site.start, site.end, index + 1)} }})")
        if genre == "StructField":
            return marked(whole, self.struct_field(node, numbers[0], index))
        if genre == "UnaryOperator":
            operand = node.children[-1]
            inner = self.inner(operand, index)
            sign = self.raw(node.start_byte, operand.start_byte)
            return marked(whole, f"(if {IS}({numbers[0]}) {{ {marked(numbers, inner)} }} else {{ {sign}{inner} }})")
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        sign = self.raw(operator.start_byte, operator.end_byte)
        inner_left, inner_right = self.inner(left, index), self.inner(right, index)
        if sign in ("&&", "||"):
            # `a || b` is `!(!a && !b)`. So nothing is written twice, which would double with each one in a chain.
            on = f"{IS}({numbers[0]})"
            return marked(whole, f"({on} ^ (({on} ^ ({inner_left})) {sign} ({on} ^ ({inner_right}))))")
        ends = ";" if node.type == "compound_assignment_expr" else ""
        arms = []
        for mutant in site.mutants:
            text = f"{inner_left} {mutant['replacement'].strip()} {inner_right}{ends}"
            arms.append(f"{mutant['number'] - numbers[0]} => {{ {marked([mutant['number']], text)} }} ")
        return marked(whole, f"(match {call} {{ {''.join(arms)}_ => {{ {inner_left} {sign} {inner_right}{ends} }} }})")

    def struct_field(self, node, number, index):
        struct = node.parent.parent
        name = struct.child_by_field_name("name")
        base = next(child for child in node.parent.children if child.type == "base_field_initializer")
        base = self.raw(base.start_byte, base.end_byte)
        # A variable's field; the whole cannot be made twice.
        is_variable = re.fullmatch(r"\.\.[\w.]+", base)
        whole = base[2:] if is_variable else f"({self.raw(name.start_byte, name.end_byte)} {{ {base} }})"
        if node.type == "shorthand_field_initializer":
            key = value = self.raw(node.start_byte, node.end_byte)
        else:
            key_node, value_node = node.child_by_field_name("field"), node.child_by_field_name("value")
            key, value = self.raw(key_node.start_byte, key_node.end_byte), self.inner(value_node, index)
        return f"{key}: if {IS}({number}) {{ {whole}.{key} }} else {{ {value} }}"


def genre_order(mutant):
    return {"FnValue": 0, "MatchArmGuard": 1}.get(mutant["genre"], 2)


def is_constant(node):
    """Whether it is computed by the compiler, where nothing can be switched."""
    while node:
        if node.type in ("const_item", "static_item", "const_block", "array_type", "enum_variant"):
            return True
        if node.type == "function_item":
            modifiers = next((child for child in node.children if child.type == "function_modifiers"), None)
            return modifiers is not None and b"const" in modifiers.text.split()
        node = node.parent
    return False


def at(text, place):
    """The numbers of the mutants that a place in a written file belongs to, the innermost; with 0 where it is in what is around them."""
    open_ = []
    for mark in MARK.finditer(text):
        if mark.start() > place:
            break
        if mark[1]:
            open_.append(mark[1])
        else:
            open_.pop()
    return [int(number) for number in open_[-1].split(b",")] if open_ else []
