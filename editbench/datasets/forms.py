"""The field forms met in the wild, told apart by their fields and read into requests.

Each reader takes one record and the target field's name; ``docs/data.md`` shows a record of every form.
"""

from __future__ import annotations

from editbench.datasets import mquake, native, rippleedits
from editbench.datasets.record import Form, Record, RecordError, Rows, filled, probes
from editbench.errors import BadData, UnknownName
from editbench.requests import Request

NQ_PREFIX = "nq question: "


def _pairs(prompt: str | None, answer: str | None) -> list[tuple[str, str | None]]:
    return [] if prompt is None else [(prompt, answer)]


def _rome(record: Record, target: str) -> list[Request]:
    rewrite = record.part("requested_rewrite", "an object with prompt, subject, target_new, target_true")
    subject = rewrite.text("subject")
    prompt, start = filled(rewrite.text("prompt", expected='e.g. "The mother tongue of {} is"'), subject)
    new = rewrite.part("target_new", 'e.g. {"str": "English"}').text("str")
    true = rewrite.part("target_true", 'e.g. {"str": "French"}').text("str")
    rephrases = record.texts("paraphrase_prompts") or record.texts("easyedit_rephrase_prompt")
    neighbours = [(prompt, true) for prompt in record.texts("neighborhood_prompts")]
    found = probes(rephrases, new, neighbour=neighbours)
    return [Request(record.id, prompt, subject, new, true, rewrite.maybe("relation_id") or "", found, start)]


def _easyedit(record: Record, target: str) -> list[Request]:
    new = record.text("target_new")
    locality = _pairs(record.maybe("locality_prompt"), record.maybe("locality_ground_truth"))
    found = probes(record.texts("rephrase_prompt"), new, locality=locality)
    true = record.maybe("ground_truth")
    relation = record.maybe("relation_id") or ""
    return [Request(record.id, record.text("prompt"), record.text("subject"), new, true, relation, found)]


def question(text: str) -> str:
    """Return an NQ locality prompt of the MEND files as a question: prefix off, question mark on."""
    text = text.removeprefix(NQ_PREFIX).strip()
    return text if text.endswith("?") or not text else text + "?"


def _zsre(record: Record, target: str) -> list[Request]:
    answers = record.texts("answers")
    if not answers:
        raise RecordError("field 'answers' is missing. Expected a list with the true answer first")
    new = answers[0] if target == "answers" else record.text(target)
    true = None if target == "answers" else answers[0]
    loc = record.maybe("loc")
    found = probes(
        record.texts("rephrase"), new, locality=_pairs(None if loc is None else question(loc), record.maybe("loc_ans"))
    )
    return [Request(record.id, record.text("src"), record.text("subject"), new, true, "", found)]


def _wikibigedit(record: Record, target: str) -> list[Request]:
    new = record.text("ans")
    found = probes(
        [*record.texts("rephrase"), *record.texts("personas")],
        new,
        locality=_pairs(record.maybe("loc"), record.maybe("loc_ans")),
        portability=_pairs(record.maybe("mhop"), record.maybe("mhop_ans")),
    )
    return [Request(record.id, record.text("update"), record.text("subject"), new, None, "", found)]


def _ultraeditbench(record: Record, target: str) -> list[Request]:
    new = record.text("ans", "target_new", "answer")
    locality = _pairs(record.maybe("loc", "locality_prompt"), record.maybe("loc_ans", "locality_ground_truth"))
    rephrases = [*record.texts("rephrase"), *record.texts("rephrase_prompt")]
    found = probes(rephrases, new, locality=locality)
    prompt = record.text("prompt", "src")
    return [Request(record.id, prompt, record.text("subject"), new, record.maybe("ground_truth"), "", found)]


# Fields that EasyEdit's form has and our own has not; without any of them a record is read as our own.
_EASYEDIT_ALONE = frozenset({"ground_truth", "rephrase_prompt", "locality_prompt"})

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        # the order matters: the first form whose marks are all there is taken
        mquake.FORM,
        Form("counterfact", frozenset({"requested_rewrite"}), _rome),
        rippleedits.FORM,
        Form("zsre", frozenset({"src", "answers"}), _zsre, ("alt", "answers", "pred")),
        Form("wikibigedit", frozenset({"update", "ans"}), _wikibigedit, ("ans",)),
        Form("ultraeditbench", frozenset({"prompt", "ans"}), _ultraeditbench, ("ans",)),
        Form("easyedit", frozenset({"prompt", "target_new"}), _easyedit, any_of=_EASYEDIT_ALONE),
        native.FORM,
    )
}


def detect(rows: Rows) -> Form:
    """Return the form named by ``rows.form``, or told from the first record's fields.

    Raises :class:`UnknownName` for a form nobody knows and :class:`BadData` for fields no form has.
    """
    if rows.form != "auto":
        if rows.form not in FORMS:
            raise UnknownName("field form", rows.form, FORMS, "form: auto tells it from the fields.")
        return FORMS[rows.form]
    if not rows.rows:
        raise BadData(f"{rows.source} holds no record.", "Expected one object per request.")
    present = {name for name, value in rows.rows[0].items() if value is not None}
    for form in FORMS.values():
        if form.fits(present):
            return form
    known = "; ".join(f"{form.name} ({', '.join(sorted(form.marks))} …)" for form in FORMS.values())
    raise BadData(
        f"{rows.source}, record 1 has the fields {', '.join(sorted(present)) or 'none'}, which no known form has.",
        f"Known forms: {known}.",
        "docs/data.md shows a record of each; our own needs prompt, subject, target_new and probes.",
    )


def target_of(form: Form, wanted: str) -> str:
    """Return the target field to write. Raises :class:`BadData` if the form has no such choice."""
    if wanted == "default":
        return form.targets[0]
    if wanted not in form.targets:
        raise BadData(
            f"target_field: {wanted} does not exist in the form {form.name}.",
            f"Expected default or one of: {', '.join(form.targets)}.",
        )
    return wanted


def read(rows: Rows, form: Form, target: str) -> tuple[list[Request], list[str]]:
    """Return the requests of all records, and one message for each record that cannot be read."""
    requests: list[Request] = []
    faults: list[str] = []
    for number, fields in enumerate(rows.rows, 1):
        record = Record(fields, number)
        try:
            requests.extend(form.read(record, target))
        except RecordError as fault:
            faults.append(f"{rows.source}, {record.called}: {fault}.")
    return form.merge(requests), faults
