"""{{title}}: the events of the date are there, and each has its id."""

from sdk import Canary, at_least, at_most, export, setting


class Events(Canary):
    title = "{{title}}"
    summary = "The events of the date are there, and each has its id."
    datasets = ["raw"]

    class Settings:
        table: str = setting("raw.events", "The table.")
        min_records: float = setting(1, "The fewest records that pass.")
        max_null_ids: float = setting(0, "The most records without id that pass.")

    def query(self, settings):
        return f"SELECT COUNT(*) AS records, COUNTIF(id IS NULL) AS null_ids FROM `{settings.table}` WHERE day = @date"

    def thresholds(self, settings):
        return [at_least("records", settings.min_records), at_most("null_ids", settings.max_null_ids)]


Plugin = export(Events())
