// {{title}}: the events of the date are there, and each has its id.

import { atLeast, atMost, canary, setting } from "./sdk.js";

export const plugin = canary({
  title: "{{title}}",
  summary: "The events of the date are there, and each has its id.",
  datasets: ["raw"],

  settings: {
    table: setting("raw.events", "The table."),
    min_records: setting(1, "The fewest records that pass."),
    max_null_ids: setting(0, "The most records without id that pass."),
  },

  query: ({ table }) =>
    `SELECT COUNT(*) AS records, COUNTIF(id IS NULL) AS null_ids FROM \`${table}\` WHERE day = @date`,

  thresholds: ({ min_records, max_null_ids }) => [atLeast("records", min_records), atMost("null_ids", max_null_ids)],
});
