"""
The extraction Space: sentences of a leaflet in; a picture, a table and a file of triples out. Needs gradio, which
Spaces provide. Not for clinical decisions.

The environment variable `ISER_MODEL`, a name on the Hub or a directory, replaces the bundled model.
"""

import html
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from transformers import AutoTokenizer

from modeling_iser import DEFAULT_MODEL, DdiExtractionPipeline, Extraction, IserForJointExtraction
from modeling_iser.handler import MAX_CHARACTERS
from modeling_iser.result_files import write_results


HEAD = """
# ISER: drug interactions in leaflets 药品说明书相互作用抽取
## ⚠️ Not for clinical decisions. 不得用于临床决策。
A research tool: a person must check what it finds. 仅供研究,结果须由人工核对。
"""
NOTHING = "Nothing was found. That says nothing about safety. 没有找到结果,但这不说明没有相互作用。"
# A tenth of the limit for programs, because users share the Space and every character is drawn.
MAX_INPUT = MAX_CHARACTERS // 10
EXAMPLES = [
    ["与阿司匹林合用,出血的危险增加。利福平可降低本品的血药浓度。维生素K能拮抗本品的抗凝作用。", "华法林钠片"],
    ["1.西咪替丁抑制本品代谢,使血药浓度升高。\n2.与苯妥英钠合用,本品的疗效减弱。", "茶碱缓释片"],
    ["与其他降压药合用,降压作用增强。禁止与阿利吉仑合用。", "缬沙坦胶囊"],
]


def load() -> DdiExtractionPipeline:
    """Load the pipeline of the chosen model, with the package's code rather than the checkpoint's."""
    name = os.environ.get("ISER_MODEL") or str(DEFAULT_MODEL)
    model = IserForJointExtraction.from_pretrained(name)
    return DdiExtractionPipeline(model=model, tokenizer=AutoTokenizer.from_pretrained(name), device="cpu")


def find(extractor: DdiExtractionPipeline, text: str, drug: str, min_confidence: float | None) -> Extraction:
    """
    Extract from a text.

    Args:
        drug: the drug whose leaflet the text is from; empty if it is not known.
        min_confidence: least score of a relation; `None`: the thresholds of the model.

    Raises:
        gr.Error: if the input is invalid.
    """
    if not text.strip():
        raise _error("Please enter a text. 请输入说明书语句。")
    if len(text) + len(drug) > MAX_INPUT:
        raise _error(f"Please enter {MAX_INPUT} characters at most. 最多输入 {MAX_INPUT} 个字符。")
    try:
        return extractor(text, drug=drug.strip() or None, split_sentences=True, min_confidence=min_confidence)
    except (TypeError, ValueError) as error:
        raise _error(str(error)) from None


def _error(message: str) -> gr.Error:
    # The page renders messages as HTML, and they may quote the input.
    return gr.Error(html.escape(message), print_exception=False)


def page(extractor: DdiExtractionPipeline) -> gr.Blocks:
    """Build the page of a pipeline."""
    least: float = extractor.model.config.relation_threshold

    def extract(text: str, drug: str, min_confidence: float) -> Iterator[tuple[str, list[list[Any]], Any]]:
        # Where the slider was not moved, the model's own thresholds hold, of which types may have their own.
        extraction = find(extractor, text, drug, None if min_confidence == least else min_confidence)
        rows = [list(triple.values()) for triple in extraction.triples()]
        picture = extraction.to_html() + ("" if rows else f"<p>{NOTHING}</p>")
        with TemporaryDirectory() as folder:
            file = Path(folder) / "iser.jsonl"
            write_results([{"source": "space", "line": 1, **extraction}], file, "jsonl", "ISER")
            # gradio copies the file before it resumes the generator.
            yield picture, rows, gr.DownloadButton(value=str(file), interactive=True)

    # Every hour, delete copies older than an hour.
    with gr.Blocks(title="ISER", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gr.Markdown(HEAD)
        with gr.Row():
            with gr.Column():
                text = gr.Textbox(label="Sentences of a leaflet 说明书语句", lines=6, max_length=MAX_INPUT)
                drug = gr.Textbox(label="Drug of the leaflet 说明书的药品", max_length=200)
                min_confidence = gr.Slider(0, 1, least, step=0.01, label="Minimum confidence 最低置信度")
                button = gr.Button("Extract 抽取", variant="primary")
            with gr.Column():
                headers = ["Head 头实体", "Relation 关系", "Tail 尾实体", "Score 得分"]
                kinds = ["str", "str", "str", "number"]
                table = gr.Dataframe(
                    headers=headers, datatype=kinds, type="array", label="Triples 三元组", interactive=False, wrap=True
                )
                download = gr.DownloadButton("Download as JSON lines 下载 JSON Lines", interactive=False)
        picture = gr.HTML(label="Picture 图示")
        gr.Examples(EXAMPLES, [text, drug], label="Examples 示例")
        button.click(extract, [text, drug, min_confidence], [picture, table, download])
    return blocks


def main() -> None:
    """Serve the page, on localhost unless the environment says otherwise."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # Use the browser's fonts, so that none are loaded from other hosts.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page(load()).queue(max_size=32).launch(theme=theme, run_history=False)


if __name__ == "__main__":
    main()
