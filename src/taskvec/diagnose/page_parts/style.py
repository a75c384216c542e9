"""The page's one style: letters, room, and colours for light and dark."""

from .colours import DARK, LIGHT, rules

LINES_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b0508a", "#8a6d00", "#3a9fd6", "#444444", "#a33c3c")
LINES_DARK = ("#5ab4e8", "#ff9a52", "#3fd1a4", "#e69ac4", "#e0c03c", "#a7d8f5", "#c9ccd3", "#f08a8a")
"""A colour for each of eight models, after Okabe and Ito 2008; dashes tell them apart, too."""

DASHES = ("", "7 3", "2 2", "9 3 2 3", "", "7 3", "2 2", "9 3 2 3")

LIGHT_PAGE = (
    ""
    "--page:#fdfdfc;--card:#f5f5f2;--ink:#1b1d22;--soft:#62666f;--rule:#dedfda;--accent:#1d5fa8;--none:#ebebe7;--shade:rgba(0,0,0,.16);--warning:#a8410b;--warning-back:#fdf0e7;--suggestion:#1d5fa8;--suggestion-back:#edf4fb;--note:#565a63;--note-back:#f3f3f0;"
)
DARK_PAGE = (
    ""
    "--page:#14161a;--card:#1c1f25;--ink:#e8e9ec;--soft:#a0a5b0;--rule:#33373f;--accent:#7fb8f0;--none:#20232a;--shade:rgba(255,255,255,.16);--warning:#ffab75;--warning-back:#2c211a;--suggestion:#8cc2f5;--suggestion-back:#182432;--note:#b0b4be;--note-back:#1c1f25;"
)

PAGE = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:clamp(24px,5vw,56px) clamp(16px,4vw,40px) 72px}
h1{font-size:clamp(27px,4.6vw,40px);line-height:1.15;letter-spacing:-.018em;margin:0 0 10px;text-wrap:balance;
overflow-wrap:anywhere}
h2{font-size:23px;line-height:1.25;letter-spacing:-.01em;margin:0 0 8px}
h3{font-size:16px;line-height:1.35;margin:0 0 4px}
p{margin:0 0 12px;max-width:76ch;overflow-wrap:anywhere;text-wrap:pretty}
.lead{font-size:18px;color:var(--soft);margin-bottom:28px}
.soft,figcaption p,.how{color:var(--soft)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,monospace;background:rgba(128,128,128,.14);padding:.08em .34em;
border-radius:4px;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 8px;font-size:15px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
section{border-top:1px solid var(--rule);padding-top:34px;margin-top:44px}
.tiles{display:grid;grid-template-columns:repeat(6,1fr);gap:1px;background:var(--rule);
border:1px solid var(--rule);border-radius:10px;overflow:hidden;margin:0 0 26px}
.tiles div{background:var(--page);padding:14px 16px}
.tiles dt{font-size:13px;color:var(--soft);line-height:1.3}
.tiles dd{margin:4px 0 0;font-size:24px;line-height:1.2;font-weight:600;letter-spacing:-.01em;
font-variant-numeric:tabular-nums}
.tiles small{display:block;font-size:13px;font-weight:400;color:var(--soft);letter-spacing:0;margin-top:3px}
.advice{list-style:none;margin:0;padding:0;display:grid;gap:10px}
.advice li{display:grid;grid-template-columns:104px 1fr;gap:4px 16px;padding:13px 16px;border-radius:8px;
border-left:3px solid}
.advice p{margin:0;max-width:80ch}
.advice .source{font-size:14px;color:var(--soft);margin-top:4px}
.advice div{min-width:0}
.advice h3{margin-bottom:2px}
.advice b{font-size:13px;line-height:1.9;font-weight:600}
.warning{background:var(--warning-back);border-color:var(--warning)!important}.warning b{color:var(--warning)}
.suggestion{background:var(--suggestion-back);border-color:var(--suggestion)!important}
.suggestion b{color:var(--suggestion)}
.note{background:var(--note-back);border-color:var(--note)!important}.note b{color:var(--note)}
.figures{display:flex;flex-wrap:wrap;gap:38px 32px;margin-top:22px;align-items:flex-start}
figure{margin:0;min-width:0;max-width:100%;flex:0 1 auto}
figcaption{margin-bottom:12px;max-width:min(66ch,100%)}
figcaption p{font-size:14px;line-height:1.45;margin:0}
.sized{min-width:min(300px,100%)}.sized figcaption{width:0;min-width:100%}
.scroll{overflow-x:auto;max-width:100%;padding-bottom:4px;
background:linear-gradient(to right,var(--page) 30%,transparent) 0 0/36px 100% no-repeat local,
linear-gradient(to left,var(--page) 30%,transparent) 100% 0/36px 100% no-repeat local,
linear-gradient(to right,var(--shade),transparent) 0 0/14px 100% no-repeat scroll,
linear-gradient(to left,var(--shade),transparent) 100% 0/14px 100% no-repeat scroll}
.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.plots{display:flex;flex-wrap:wrap;gap:18px 22px}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0 0 14px;padding:0;font-size:14px}
.key li{display:flex;align-items:center;gap:7px;overflow-wrap:anywhere}
svg{display:block;max-width:none;font-family:inherit;overflow:visible}
text{fill:var(--ink)}text.soft{fill:var(--soft)}text.strong{font-weight:600}.n{font-variant-numeric:tabular-nums}
.halo{paint-order:stroke;stroke:var(--page);stroke-width:4px;stroke-linejoin:round}
.none{fill:var(--none)}
.grid{stroke:var(--rule)}.axis{stroke:var(--soft);stroke-width:1}.ray{stroke:var(--rule);stroke-width:1.5}
.branch{fill:none;stroke:var(--ink);stroke-width:1.5;stroke-linejoin:round}
.point{fill:var(--accent)}.base{fill:var(--page);stroke:var(--ink);stroke-width:1.5}
.bar{fill:var(--accent)}.bar.last{fill:var(--soft)}
.curve{fill:none;stroke-width:1.8;stroke-linejoin:round}.many{stroke:var(--soft);stroke-opacity:.55;stroke-width:1.2}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 0 6px 18px;border-bottom:1px solid var(--rule);white-space:nowrap;line-height:1.35}
th{font-weight:600;color:var(--soft);vertical-align:bottom}thead th{white-space:normal;min-width:70px}
th:first-child,td:first-child{text-align:left;padding-left:0}tbody th{font-weight:400;color:var(--ink)}
td.words{text-align:left}
details{margin-top:14px}summary{cursor:pointer;color:var(--accent);font-weight:600}
details[open] summary{margin-bottom:12px}
ul.how{padding-left:20px;margin:0;max-width:76ch}ul.how li{margin-bottom:7px;overflow-wrap:anywhere}
footer{margin-top:48px;font-size:14px;color:var(--soft)}
@media (max-width:980px){.tiles{grid-template-columns:repeat(3,1fr)}}
@media (max-width:640px){.advice li{grid-template-columns:1fr}.advice div{min-width:0}
.advice h3{margin-bottom:2px}
.advice b{line-height:1.3}.lead{font-size:16px}
section{padding-top:26px;margin-top:34px}.tiles{grid-template-columns:1fr 1fr}
.sized{width:100%}.sized svg,.plots svg{height:auto}
.plots{display:grid;grid-template-columns:1fr 1fr;gap:16px 8px}.plots svg{width:100%}
.sized svg{width:min(var(--wide),max(100%,.75*var(--wide)))}.tiles dd{font-size:21px}}
@media print{section{break-inside:avoid}.scroll{overflow:visible}}
"""


def style() -> str:
    """Return the CSS of the page, in light and in dark."""
    light = f":root{{{LIGHT_PAGE}}}{rules(LIGHT)}{_lines(LINES_LIGHT)}"
    dark = f":root{{{DARK_PAGE}}}{rules(DARK)}{_lines(LINES_DARK)}"
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}{PAGE}"


def _lines(colours: tuple[str, ...]) -> str:
    dashed = enumerate(zip(colours, DASHES, strict=True))
    return "".join(f".m{m}{{stroke:{colour};stroke-dasharray:{dash or 'none'}}}" for m, (colour, dash) in dashed)
