// {{title}}: each date has events, and every event has an id.

import { atLeast, atMost, canary, setting } from "./sdk.js";

export const plugin = canary({
  title: "{{title}}",
  summary: "Checks that each date has events, and that every event has an id.",
  datasets: ["raw"],

  settings: {
    table: setting("raw.events", "The table."),
    min_records: setting(1, "Minimum number of records."),
    max_null_ids: setting(0, "Maximum number of records without id."),
  },

  query: ({ table }) =>
    `SELECT COUNT(*) AS records, COUNTIF(id IS NULL) AS null_ids FROM \`${table}\` WHERE day = @date`,

  thresholds: ({ min_records, max_null_ids }) => [atLeast("records", min_records), atMost("null_ids", max_null_ids)],
});
