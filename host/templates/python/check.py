"""{{title}}: each date has events, and every event has an id."""

from sdk import Canary, at_least, at_most, export, setting


class Events(Canary):
    title = "{{title}}"
    summary = "Checks that each date has events, and that every event has an id."
    datasets = ["raw"]

    class Settings:
        table: str = setting("raw.events", "The table.")
        min_records: float = setting(1, "Minimum number of records.")
        max_null_ids: float = setting(0, "Maximum number of records without id.")

    def query(self, settings):
        return f"SELECT COUNT(*) AS records, COUNTIF(id IS NULL) AS null_ids FROM `{settings.table}` WHERE day = @date"

    def thresholds(self, settings):
        return [at_least("records", settings.min_records), at_most("null_ids", settings.max_null_ids)]


Plugin = export(Events())
