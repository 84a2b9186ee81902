"""`report`: one HTML page about a config, its rows, their outcomes, and the input of the model.

config ──gather──▶ Facts ──advise──▶ Findings ┐
                    │ stream                  │
                    ├──survey──▶ all rows     ├──page.html──▶ a file that needs no network
                    └──read_first──▶ packs    ┘
"""

from samsum_stream.inspection.report.page import make_page

__all__ = ["make_page"]
