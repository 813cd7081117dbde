"""The metric's Space: two inputs for documents, and their scores. Requires gradio, which every Space has."""

import html
import json
from pathlib import Path
from typing import Any

import evaluate


EXAMPLE_PREDICTIONS = [
    {
        "entities": [{"start": 0, "end": 2, "type": "Peop"}, {"start": 4, "end": 5, "type": "Org"}],
        "relations": [{"head": 0, "tail": 1, "type": "Live_In"}],
    }
]
EXAMPLE_REFERENCES = [
    {
        "entities": [{"start": 0, "end": 2, "type": "Peop"}, {"start": 4, "end": 5, "type": "Loc"}],
        "relations": [{"head": 0, "tail": 1, "type": "Live_In"}],
    }
]
METRIC = evaluate.load(str(Path(__file__).with_name("evaluate_iser.py")), keep_in_memory=True)


def scores(predictions: str, references: str, symmetric_relations: str = "") -> dict[str, Any]:
    """
    Score two JSON lists of documents; symmetric relation types are separated by commas.

    Raises:
        TypeError: if the JSON is not a list.
        ValueError: if a text is not JSON, or the metric rejects a document.
    """
    symmetric = [name.strip() for name in symmetric_relations.split(",") if name.strip()]
    return METRIC.compute(
        predictions=json.loads(predictions), references=json.loads(references), symmetric_relations=symmetric
    )


def main() -> None:
    """Serve the page."""
    import gradio as gr

    def answer(predictions: str, references: str, symmetric_relations: str) -> dict[str, Any]:
        try:
            return scores(predictions, references, symmetric_relations)
        except (TypeError, ValueError) as error:
            # The page renders messages as HTML, and they may quote the input.
            raise gr.Error(html.escape(str(error)), print_exception=False) from None

    card = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    gr.Interface(
        fn=answer,
        inputs=[
            gr.Code(json.dumps(EXAMPLE_PREDICTIONS, indent=1), language="json", label="Predictions"),
            gr.Code(json.dumps(EXAMPLE_REFERENCES, indent=1), language="json", label="References"),
            gr.Textbox(label="Symmetric relation types, separated by commas"),
        ],
        outputs=gr.JSON(label="Scores"),
        title="Entity and relation scores",
        # The card without its YAML front matter.
        article=card.split("---\n", 2)[2],
    ).launch()


if __name__ == "__main__":
    main()
