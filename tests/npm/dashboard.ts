// What Grafana's schema says of the dashboard in deploy/grafana: `cargo xtask test deploy` has
// TypeScript compare both. The schema is of the version that deploy/docker/compose.yaml starts.
import type * as dashboard
    from "@grafana/schema/dist/types/raw/dashboard/x/dashboard_types.gen.d.ts";
import type * as stat
    from "@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts";
import type * as timeseries
    from "@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts";

// As JSON has it: the value of an enumeration and not its name.
type Json<T> = T extends string ? `${T}`
    : T extends object ? { [Key in keyof T]: Json<T[Key]> }
    : T;

// Of the data source for Prometheus, which is not in the schema.
interface Query {
    refId: string;
    datasource: dashboard.DataSourceRef;
    editorMode: "code";
    range: true;
    expr: string;
    legendFormat: string;
}
interface Annotation extends dashboard.AnnotationQuery {
    expr?: string;
    step?: string;
    titleFormat?: string;
}

// Grafana keeps a query of labels twice.
interface Variable extends dashboard.VariableModel {
    definition?: string;
}

interface Panel<Type, Options, Custom>
    extends Omit<dashboard.Panel, "type" | "options" | "targets" | "fieldConfig"> {
    type: Type;
    id: number;
    title: string;
    gridPos: dashboard.GridPos;
    options: Partial<Options>;
    targets: Query[];
    fieldConfig: {
        defaults: Omit<dashboard.FieldConfig, "custom"> & { custom?: Custom };
        overrides: dashboard.FieldConfigSource["overrides"];
    };
}

export type Dashboard =
    & Json<Omit<dashboard.Dashboard, "panels" | "annotations" | "templating">>
    & {
        uid: string;
        annotations: { list: Json<Annotation>[] };
        templating: { list: Json<Variable>[] };
        panels: (
            | Json<Panel<"stat", stat.Options, never>>
            | Json<Panel<"timeseries", timeseries.Options, timeseries.FieldConfig>>
            | Json<dashboard.RowPanel>
        )[];
    };
