"""Tensor signatures in `workers/spd` state their shapes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "workers" / "spd").rglob("*.py"))


def is_tensor(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == "Tensor") or (
        isinstance(node, ast.Attribute) and node.attr == "Tensor"
    )


def has_shape(node: ast.AST) -> bool:
    """`Float[Tensor, "batch seq"]`, or `Float[Tensor, ...]` where any shape will do."""
    match node:
        case ast.Subscript(slice=ast.Tuple(elts=[tensor, ast.Constant(value=shape)])):
            return is_tensor(tensor) and (shape is ... or isinstance(shape, str))
        case _:
            return False


def bare_in(node: ast.AST | None) -> bool:
    """Whether an annotation names a tensor without its shape."""
    if node is None or has_shape(node):
        return False
    return is_tensor(node) or any(bare_in(child) for child in ast.iter_child_nodes(node))


def signatures(tree: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Every annotation of an argument, a return or a field of a class, with a name for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            named = [
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                arguments.vararg,
                arguments.kwarg,
            ]
            yield from ((f"{node.name}({one.arg})", one.annotation) for one in named if one is not None)
            yield f"{node.name} →", node.returns
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign):
                    yield f"{node.name}.{ast.unparse(field.target)}", field.annotation


def bare(source: str) -> list[str]:
    return [name for name, annotation in signatures(ast.parse(source)) if bare_in(annotation)]


def test_every_tensor_in_a_signature_states_its_shape() -> None:
    found = {str(path.relative_to(ROOT)): bare(path.read_text(encoding="utf-8")) for path in MODULES}
    assert len(found) > 50
    assert {path: names for path, names in found.items() if names} == {}


def test_a_bare_tensor_is_found_wherever_it_stands() -> None:
    planted = """
class Found:
    values: dict[str, torch.Tensor]
    right: Float[Tensor, "batch seq"]

    def pick(self, rows: Tensor | None, *more: Tensor, shaped: Int[Tensor, " rows"]) -> Float[Tensor, ...]:
        def inner(x) -> tuple[Tensor, int]: ...
"""
    assert bare(planted) == ["Found.values", "pick(rows)", "pick(more)", "inner →"]
