"""Decision trees as text for a terminal."""

from __future__ import annotations

from morphoscope.labels.tree_files import TreeFile, tree_file, tree_names


def list_lines() -> list[str]:
    """The trees of the package, one per line."""
    files = [tree_file(name) for name in tree_names()]
    name_width, title_width = (
        max(map(len, texts)) for texts in ([f.name for f in files], [f.title for f in files])
    )
    lines = []
    for file in files:
        tree = file.tree()
        sizes = f"{len(tree.questions):2d} questions {len(tree.columns):3d} answers"
        doubt = "" if file.verified else "  not verified"
        lines.append(f"{file.name:{name_width}}  {file.title:{title_width}}  {sizes}{doubt}")
    return lines


def tree_lines(file: TreeFile) -> list[str]:
    """Questions and answers with the questions these lead to, and where the tree comes from."""
    tree = file.tree()
    lines = [f"{file.name}, version {file.version}: {file.title}", ""]
    for question, written in zip(tree.questions, file.questions, strict=True):
        several = " (several answers possible)" if written.several else ""
        lines.append(f"{question.key}  {question.text}{several}")
        width = max(len(answer.key) for answer in question.answers)
        for answer in question.answers:
            text = f"  ({answer.text})" if answer.text and answer.text != answer.key else ""
            goal = f"→ {answer.next}" if answer.next else "· end"
            lines.append(f"    {answer.key:{width}}  {goal}{text}")
    lines.append("")
    for title, texts in (("source", file.sources), ("table", file.tables), ("left out", file.left_out)):
        lines += [f"{title}: {text}" for text in texts]
    checked = "verified" if file.verified else "NOT VERIFIED in every part"
    return [*lines, f"{checked}: {file.verified_with}" if file.verified_with else checked]


def tree_document(file: TreeFile) -> dict[str, object]:
    """The same, JSON-able, with the column of each answer."""
    tree = file.tree()
    return {
        **file.model_dump(mode="json", exclude={"kind", "format_version", "questions", "tags"}),
        "questions": [
            {
                "key": question.key,
                "text": question.text,
                "answers": [
                    {"column": column, "text": answer.text or answer.key, "next": answer.next}
                    for column, answer in zip(question.columns, question.answers, strict=True)
                ],
            }
            for question in tree.questions
        ],
    }
