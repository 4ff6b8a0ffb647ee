//! The report as one page that needs nothing else: the Markdown, with plots.

use pulldown_cmark::{Options, Parser};

use super::markdown;
use super::plots::Plot;
use super::report::Report;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#1d2433;max-width:60rem;\
     margin:2rem auto;padding:0 1rem}h1,h2{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px \
     solid #d5dbe7}table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
     th,td{border:1px solid #d5dbe7;padding:.3rem .7rem;text-align:left;\
     font-variant-numeric:tabular-nums}th{background:#f3f6fc}svg{max-width:100%;height:auto}";

pub(super) fn page(report: &Report) -> anyhow::Result<String> {
    let text = markdown::report(report);
    let mut body = String::new();
    pulldown_cmark::html::push_html(&mut body, Parser::new_ext(&text, Options::ENABLE_TABLES));
    for plot in Plot::ALL {
        body = body.replace(plot.mark(), &plot.draw(report)?);
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>Load test: {} agents</title><style>{STYLE}</style></head>\n\
         <body>\n{body}</body></html>\n",
        report.agents
    ))
}
