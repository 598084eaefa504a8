"""How a chart shows itself: everywhere, without the internet.

JupyterLab brings Vega along, of an older major version than altair's and under another MIME type,
which is why altair's own offline renderer ships 0.9 MB of JavaScript with each chart. labkit
compiles the chart to Vega, which JupyterLab itself draws, interactively, as wide as the page, and
puts a PNG beside it for all that cannot: GitHub, nbconvert, a plain papermill run. A headless run
(`labkit run`) writes the PNG alone.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Any

from labkit.charts import page_width
from labkit.waiting.progress import headless, in_notebook

NAME = "labkit"
VEGA = "application/vnd.vega.v5+json"  # JupyterLab's own: @jupyterlab/vega5-extension
# A picture has paper and ink of its own; JupyterLab draws on its page, with its letters' colour. No
# grey has a contrast of 4.5 on both. Whoever wants white paper on a dark page says "white".
INK, PAPER = "#666666", "rgb(255, 255, 255)"
PPI = 144  # twice a screen's 72, shown at the chart's own size


@cache
def enable() -> None:
    """Let charts show themselves in a notebook's kernel, once per process.

    A renderer that the user chose stays.
    """
    import altair as alt

    alt.renderers.register(NAME, bundle)
    if in_notebook() and alt.renderers.active == "default" and not alt.renderers.options:
        alt.renderers.enable(NAME)


def bundle(spec: dict[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a chart's MIME bundle and its metadata, as altair asks of a renderer."""
    from altair.utils.mimebundle import spec_to_mimebundle

    data, metadata = spec_to_mimebundle(spec, "png", mode="vega-lite", ppi=PPI)
    data["image/png"] = repack_png(data["image/png"])
    title = spec.get("title", "chart")
    data["text/plain"] = str(title.get("text", "chart") if isinstance(title, dict) else title)
    if not headless():
        vega = compiled(spec)
        if page_width.fills_page(spec):
            vega = page_width.fill_page(vega, metadata["image/png"]["width"])
            _publish_style()
        data[VEGA] = vega
        metadata[VEGA] = {
            "embed_options": {
                "actions": {"source": False, "compiled": False, "editor": False},
                **options,
            }
        }
    return data, metadata


def _publish_style() -> None:
    if in_notebook():
        from IPython.display import publish_display_data

        publish_display_data({"text/html": page_width.STYLE, "text/plain": ""})


def compiled(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a chart as the Vega that JupyterLab draws.

    Vega-Lite's background is white, where JupyterLab may be dark and gives light letters: a chart
    without a background of its own has the page's, and labkit's have its letters' colour, too.
    """
    from altair.utils.mimebundle import spec_to_mimebundle

    on_page = spec.get("background") == PAPER
    spec = {**spec, "config": _ink_of_page(spec.get("config", {}))} if on_page else spec
    vega = next(iter(spec_to_mimebundle(spec, "vega", mode="vega-lite").values()))
    if on_page:  # only in an SVG a theme that is chosen later colours the letters
        vega["usermeta"] = {**vega.get("usermeta", {}), "embedOptions": {"renderer": "svg"}}
    own_background = "background" in spec or "background" in spec.get("config", {})
    background = {"background": "transparent"} if on_page or not own_background else {}
    return {**vega, **background, "$schema": "https://vega.github.io/schema/vega/v5.json"}


def _ink_of_page(config: Any) -> Any:
    """Return a chart's configuration with the colour of the page's letters for `INK`."""
    if isinstance(config, dict):
        return {name: _ink_of_page(part) for name, part in config.items()}
    return "currentColor" if config == INK else config


def repack_png(png: bytes) -> bytes:
    """Return the same picture at a quarter of the size.

    vl-convert packs for speed, and notebooks keep the bytes. A PNG is a signature and chunks of
    length, type, data and checksum: https://www.w3.org/TR/png-3/#5DataRep
    """
    before, pixels, after, at = png[:8], b"", b"", 8
    while at < len(png):
        end = at + 12 + struct.unpack_from(">I", png, at)[0]
        if png[at + 4 : at + 8] == b"IDAT":
            pixels += png[at + 8 : end - 4]
        elif pixels:
            after += png[at:end]
        else:
            before += png[at:end]
        at = end
    data = b"IDAT" + zlib.compress(zlib.decompress(pixels), 9)
    return (
        before
        + struct.pack(">I", len(data) - 4)
        + data
        + struct.pack(">I", zlib.crc32(data))
        + after
    )
