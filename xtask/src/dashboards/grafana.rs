//! Dashboards in Grafana's JSON.

use serde_json::{Value, json};

use super::panels::{Board, Kind, Panel, Query, Variable};

/// Grafana's grid is 24 columns wide.
const COLUMNS: usize = 24;

/// Of Grafana 10; later ones convert it.
const SCHEMA: u32 = 38;

/// The page. Its datasource is a choice on top, so that one form serves provisioning and import.
pub fn board(board: &Board) -> Value {
    let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
    let mut next = || {
        id += 1;
        id
    };
    for row in &board.rows {
        panels.push(json!({
            "id": next(), "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }));
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        for one in &row.panels {
            let (w, h) = size(one.kind);
            if x + w > COLUMNS {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            panels.push(panel(one, next(), json!({"x": x, "y": y, "w": w, "h": h})));
            (x, tallest) = (x + w, tallest.max(h));
        }
        y += tallest;
    }
    json!({
        "uid": board.uid, "title": board.title, "description": board.description, "tags": ["tracer"],
        "schemaVersion": SCHEMA, "version": 1, "editable": true, "graphTooltip": 1, "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "links": [{"type": "dashboards", "title": "tracer", "tags": ["tracer"], "asDropdown": false,
                   "keepTime": true, "includeVars": true}],
        "templating": {"list": variables(board)},
        "annotations": {"list": []},
        "panels": panels,
    })
}

fn size(kind: Kind) -> (usize, usize) {
    match kind {
        Kind::Number => (6, 4),
        Kind::Lines | Kind::Stacked | Kind::Table => (12, 8),
    }
}

fn variables(board: &Board) -> Vec<Value> {
    let of = Variable { name: "job", metric: "tracer_build_info", several: true };
    let instance = Variable { name: "instance", metric: "tracer_build_info{job=~\"$job\"}", several: true };
    let mut all = vec![json!({
        "name": "datasource", "label": "Datasource", "type": "datasource", "query": "prometheus", "hide": 0,
        "current": {}, "options": [], "refresh": 1, "includeAll": false, "multi": false,
    })];
    all.extend([&of, &instance].into_iter().chain(board.variables).map(variable));
    all
}

fn variable(variable: &Variable) -> Value {
    let query = format!("label_values({}, {})", variable.metric, variable.name);
    json!({
        "name": variable.name, "label": variable.name, "type": "query", "datasource": datasource(),
        "query": {"query": query, "refId": variable.name}, "definition": query, "refresh": 2, "sort": 1,
        "hide": 0, "includeAll": variable.several, "multi": variable.several, "allValue": ".*", "options": [],
        "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
    })
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn panel(panel: &Panel, id: u32, place: Value) -> Value {
    let stacked = panel.kind == Kind::Stacked;
    let (kind, options, custom) = match panel.kind {
        Kind::Lines | Kind::Stacked => (
            "timeseries",
            json!({"legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                   "tooltip": {"mode": "multi", "sort": "desc"}}),
            json!({"drawStyle": "line", "lineWidth": 1, "fillOpacity": if stacked { 30 } else { 0 },
                   "stacking": {"mode": if stacked { "normal" } else { "none" }, "group": "A"},
                   "showPoints": "never", "spanNulls": false}),
        ),
        Kind::Number => (
            "stat",
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                   "colorMode": "none", "graphMode": "area", "textMode": "auto", "orientation": "auto"}),
            json!({}),
        ),
        Kind::Table => ("table", json!({"showHeader": true, "footer": {"show": false}}), json!({})),
    };
    let mut value = json!({
        "id": id, "type": kind, "title": panel.title, "description": panel.help, "datasource": datasource(),
        "gridPos": place, "options": options,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom,
                                     "color": {"mode": "palette-classic"}},
                        "overrides": []},
        "targets": targets(panel),
    });
    if panel.kind == Kind::Table {
        // The time of the reading tells nothing here.
        value["transformations"] = json!([{"id": "organize", "options": {"excludeByName": {"Time": true}}}]);
    }
    value
}

fn targets(panel: &Panel) -> Vec<Value> {
    let instant = panel.kind == Kind::Table;
    let target = |(index, query): (usize, &Query)| {
        let letter = char::from(b'A' + u8::try_from(index).unwrap_or(0));
        json!({
            "refId": letter.to_string(), "datasource": datasource(), "expr": query.expr, "legendFormat": query.legend,
            "editorMode": "code", "range": !instant, "instant": instant,
            "format": if instant { "table" } else { "time_series" },
        })
    };
    panel.queries.iter().enumerate().map(target).collect()
}
