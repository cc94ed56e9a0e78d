"""Tables in formats that are not read, and how to save them in one that is."""

from pathlib import PurePath

_AS_CSV = "Save it as CSV (in Excel: 'CSV UTF-8') and name that file."
_BY_PANDAS = "Save it as CSV: python -c \"import pandas; pandas.{reader}.to_csv('{csv}', index=False)\""
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_READ = (".csv", ".tsv", ".parquet")
# endings, what people call such a file, and how a table that is read is made of it
_FORMATS = (
    ((".xlsx", ".xls", ".xlsm", ".xlsb"), "an Excel file", _AS_CSV),
    ((".ods", ".numbers"), "a spreadsheet", _AS_CSV),
    ((".jsonl", ".ndjson"), "a file of JSON lines", _BY_PANDAS.replace("{reader}", "read_json('{file}', lines=True)")),
    ((".json",), "a JSON file", "Write a CSV with a line for each photo, as in image,label."),
    ((".feather", ".arrow"), "a Feather file", _BY_PANDAS.replace("{reader}", "read_feather('{file}')")),
    ((".orc",), "an ORC file", _BY_PANDAS.replace("{reader}", "read_orc('{file}')")),
    ((".pkl", ".pickle"), "a pickle", "Save its table as CSV: DataFrame.to_csv(FILE, index=False)."),
    (
        (".txt", ".tab"),
        "plain text",
        "If it is a table, rename it: to .tsv if tabs separate the columns, else to .csv.",
    ),
)


def other_table(path: PurePath) -> str:
    """Return which table that is not read a file is, and the remedy; "" if its ending is that of none."""
    suffix = path.suffix.lower()
    inner = PurePath(path.stem).suffix.lower()
    if suffix in _COMPRESSED and inner in (*_READ, *(ending for endings, _, _ in _FORMATS for ending in endings)):
        return f"{path} is compressed. Unpack it, and name {path.with_suffix('')}."
    for endings, kind, remedy in _FORMATS:
        if suffix in endings:
            return f"{path} is {kind}. {remedy.format(file=path, csv=path.with_suffix('.csv'))}"
    return ""
