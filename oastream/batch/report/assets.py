"""The style sheet and the script of the page. Both stand in it; nothing is fetched.

The page is whole without the script, which shows the values at the moment that is pointed at.
"""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#56606b;--rule:#dde1e6;
--good:#1a7f4b;--bad:#c2303a;--wait:#8a939d;--c1:#2563c9;--c2:#c2303a;--c3:#b45309;--c4:#0f766e;--c5:#7c3aed;--c6:#56606b}
@media screen and (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1c2026;--ink:#e6e9ed;--soft:#a3adb8;
--rule:#343b44;--good:#4cc38a;--bad:#ff8087;--wait:#7d8793;--c1:#7cb0ff;--c2:#ff8087;--c3:#f5b35c;--c4:#4fd1c0;
--c5:#bd9bff;--c6:#a3adb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%;text-size-adjust:100%}
main,header,footer{max-width:76rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:1.75rem}
h1,h3,p{overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .35rem}
h2{font-size:1.15rem;margin:2.25rem 0 .75rem}
h3{font-size:.95rem;margin:0}
p{margin:.35rem 0}
.soft,.note,footer{color:var(--soft)}
.note{font-size:.85rem;margin:.1rem 0 0}
.state{display:inline-block;font-weight:600;font-size:.85rem;padding:.1rem .6rem;border-radius:1rem;
border:1px solid currentColor;margin-right:.4rem;color:var(--soft)}
.state.good{color:var(--good)}.state.bad{color:var(--bad)}
.bar{display:flex;height:.7rem;border-radius:.35rem;overflow:hidden;background:var(--rule);margin:1rem 0 .4rem;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.bar span{display:block;min-width:2px}
.bar .now{background:var(--good)}.bar .before{background:var(--good);opacity:.55}.bar .failed{background:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.25rem 0 0}
.tiles div,.chart,.card{background:var(--card);border:1px solid var(--rule);border-radius:.6rem}
.tiles div{padding:.7rem .9rem;min-width:0;overflow-wrap:anywhere}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{margin:0}
.tiles dd:first-of-type{font-size:1.3rem;font-weight:600;line-height:1.3}
.tiles dd+dd{color:var(--soft);font-size:.85rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:.9rem}
.chart{margin:0;min-width:0;padding:.8rem 1rem .5rem;break-inside:avoid;display:flex;flex-direction:column}
.chart.few{padding-bottom:.8rem;align-self:start}
.legend{display:flex;flex-wrap:wrap;gap:0 1rem;margin:.35rem 0 0;padding:0;list-style:none;font-size:.85rem}
.swatch{display:inline-block;width:.9rem;height:.2rem;border-radius:.1rem;vertical-align:.25rem;margin-right:.4rem;
background:var(--c1);print-color-adjust:exact;-webkit-print-color-adjust:exact}
.value{margin-left:.35rem}
.plot{position:relative;height:11.2rem;margin-top:auto;touch-action:pan-y}
.plot svg{position:absolute;left:3.6rem;top:.7rem;width:calc(100% - 4.3rem);height:8.7rem;overflow:visible}
.labels{position:absolute;left:3.6rem;top:.7rem;width:calc(100% - 4.3rem);height:8.7rem;font-size:.75rem;
color:var(--soft);pointer-events:none}
.labels span{position:absolute;white-space:nowrap}
.labels .y{right:100%;padding-right:.45rem;transform:translateY(-50%)}
.labels .x{top:100%;padding-top:.3rem;transform:translateX(-50%)}
.cursor{position:absolute;top:0;bottom:0;width:1px;background:var(--soft)}
svg path{fill:none;vector-effect:non-scaling-stroke}
svg .grid{stroke:var(--rule);stroke-width:1px}
svg .line{stroke-width:1.6px;stroke-linejoin:round}
svg .area{stroke:none;fill-opacity:.13}
.c1{stroke:var(--c1);fill:var(--c1)}.c2{stroke:var(--c2);fill:var(--c2)}.c3{stroke:var(--c3);fill:var(--c3)}
.c4{stroke:var(--c4);fill:var(--c4)}.c5{stroke:var(--c5);fill:var(--c5)}.c6{stroke:var(--c6);fill:var(--c6)}
svg .line{fill:none}svg .area.c1{fill:var(--c1)}svg .area.c2{fill:var(--c2)}svg .area.c3{fill:var(--c3)}
svg .area.c4{fill:var(--c4)}svg .area.c5{fill:var(--c5)}svg .area.c6{fill:var(--c6)}
.swatch.c2{background:var(--c2)}.swatch.c3{background:var(--c3)}.swatch.c4{background:var(--c4)}
.swatch.c5{background:var(--c5)}.swatch.c6{background:var(--c6)}
.card{padding:.3rem 1rem;overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding:.4rem 0}
th,td{text-align:left;padding:.4rem .8rem .4rem 0;vertical-align:top;font-weight:400}
thead th{color:var(--soft);font-size:.85rem}
tbody tr,tfoot tr{border-top:1px solid var(--rule)}
tbody tr.ids{border-top:0}
tfoot td,tfoot th{font-weight:600}
.n{text-align:right;white-space:nowrap}
th.n:last-child,td.n:last-child{padding-right:0}
.message{overflow-wrap:anywhere}
.failures .message{width:100%}
.ids td{padding-top:0}
.ids ul{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.15rem .9rem}
code,.ids li{font:.85rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
overflow-wrap:anywhere;white-space:pre-wrap;unicode-bidi:isolate}
dl.run{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem;margin:.5rem 0}
dl.run dt{color:var(--soft)}dl.run dd{margin:0;overflow-wrap:anywhere}
details{margin:.9rem 0}summary{cursor:pointer;color:var(--soft)}
footer{font-size:.85rem;padding-top:2rem;padding-bottom:2rem}
@media(max-width:34rem){main,header,footer{padding-left:.8rem;padding-right:.8rem}.tiles{grid-template-columns:1fr 1fr}
.meaning,.share{display:none}.chart{padding:.7rem .7rem .4rem}
dl.run{grid-template-columns:1fr}dl.run dd{margin-bottom:.4rem}}
@media print{:root{--page:#fff}body{font-size:10.5pt}.charts{grid-template-columns:1fr 1fr}
.tiles{grid-template-columns:repeat(3,1fr)}h2{break-after:avoid}tr{break-inside:avoid}tr.ids{break-inside:auto}
.plot{height:8.7rem}.plot svg,.labels{height:6.2rem}}
"""

SCRIPT = """
(function(){
var data=JSON.parse(document.getElementById("data").textContent),edges=data.edges,end=edges[edges.length-1];
var charts=[].slice.call(document.querySelectorAll(".chart[data-unit]"));
var age=data.running?Math.round(Date.now()/1000-data.running.written):0,stale=document.getElementById("stale");
if(age>60)stale.textContent="; not written for "+time(age)+", so the run may have been killed";
function time(s){var m=Math.floor(s/60),h=Math.floor(m/60);
return h?h+" h "+m%60+" min":m?m+" min "+Math.floor(s%60)+" s":(+s.toFixed(1))+" s"}
function number(v,unit){if(v===null)return"\\u2013";
if(unit==="ms"&&v>=1000){v/=1000;unit="s"}
return v.toLocaleString("en",{maximumSignificantDigits:v>=1000?6:3})+(unit==="/s"||!unit?unit:"\\u00a0"+unit)}
function show(at){charts.forEach(function(chart,i){
var cursor=chart.querySelector(".cursor"),when=chart.querySelector(".when");
chart.querySelectorAll(".value").forEach(function(cell,j){
cell.textContent=at<0?"":number(data.charts[i][j][at],chart.dataset.unit)});
cursor.hidden=at<0;
cursor.style.left=at<0?"":50*(edges[at]+edges[at+1])/end+"%";
when.textContent=at<0?"":" at "+time(edges[at])})}
charts.forEach(function(chart){
var labels=chart.querySelector(".labels"),cursor=document.createElement("i"),when=document.createElement("span");
cursor.className="cursor";cursor.hidden=true;labels.appendChild(cursor);
when.className="when note";chart.querySelector("h3").appendChild(when);
var plot=chart.querySelector(".plot");
plot.addEventListener("pointermove",function(event){var box=labels.getBoundingClientRect();
var t=(event.clientX-box.left)/box.width*end,at=edges.length-2;
if(t<0||t>end)return show(-1);
while(at>0&&edges[at]>t)at--;show(at)});
plot.addEventListener("pointerleave",function(){show(-1)})})
})();
"""
