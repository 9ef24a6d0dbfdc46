"""Parquet, Arrow and Feather, read in batches; classes get the names that Hugging Face's metadata has for them."""

import contextlib
import datetime
import decimal
import itertools
import json
import os

from t2t_multimodel.data_gen.readers.tables import Row
from t2t_multimodel.errors import UserError
from t2t_multimodel.regular_files import open_regular, require_regular

_BATCH = 1024  # rows
_BATCH_WITH_BYTES = 16  # of pictures or recordings
_BUFFER = 1 << 20  # bytes
_MOST_BATCH = 1 << 31  # bytes
_MOST_ROW_GROUP = 1 << 34  # bytes, uncompressed, as the file says


def pyarrow_for(path):
    """The module pyarrow; `path` is what it is needed for."""
    try:
        import pyarrow
    except ImportError:
        raise UserError(f"{path}: read with pyarrow: pip install 't2t-multimodel[tables]'") from None
    return pyarrow


def read(path, form, columns=None, wanted=None):
    """Yields the `Row`s; a place is the number of the row, from 1."""
    pyarrow = pyarrow_for(path)
    name, classes = os.path.basename(os.fspath(path)), None
    with contextlib.closing(_batches(path, columns)) as batches:
        for first, rows in batches:
            numbers = range(first, first + rows.num_rows)
            if wanted is not None:
                numbers = list(itertools.compress(numbers, wanted[first - 1 : first - 1 + rows.num_rows]))
                if not numbers:
                    continue
                if len(numbers) < rows.num_rows:
                    rows = rows.take(pyarrow.array([i - first for i in numbers]))
            classes = class_names(rows.schema) if classes is None else classes
            names = [n for n in rows.schema.names if columns is None or _needed(n, columns)]
            with _said_of(path):
                lists = [_values(rows.column(n), classes.get(n)) for n in names]
            for i, *values in zip(numbers, *lists) if names else ():
                yield Row(f"{name}:{i}", dict(zip(names, values)))


def _batches(path, columns):
    """Yields `(number of the first row, a checked RecordBatch)`, of few rows where there are pictures or recordings."""
    pyarrow = pyarrow_for(path)
    is_parquet = os.fspath(path).lower().endswith(".parquet")
    number = 1
    with _said_of(path), contextlib.ExitStack() as opened:
        if is_parquet:
            schema, batches = _parquet(opened, path, columns)
        else:
            schema, batches = _arrow(pyarrow, opened.enter_context(open_regular(path)))
        for batch in batches:
            if batch.nbytes > _MOST_BATCH:
                raise UserError(f"{path}: {batch.num_rows:,} rows of {batch.nbytes:,} bytes; write smaller batches")
            batch.validate(full=True)  # offsets outside of the buffers would be read as they are
            for rows in _slices(batch, _rows_at_once(schema)):
                yield number, rows.replace_schema_metadata(schema.metadata)
                number += rows.num_rows


@contextlib.contextmanager
def _said_of(path):
    """Says what went wrong with the file at `path` in words."""
    pyarrow = pyarrow_for(path)
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or _first_line(error)})") from None
    except (pyarrow.ArrowException, ValueError, KeyError, OverflowError, MemoryError) as error:  # of a damaged file
        raise UserError(f"{path}: can't be read as {_form(path)} ({_first_line(error)}); get it again") from None


def holds_all_bytes(path, columns):
    """Whether each of `columns` has a picture's or recording's bytes in every row, as Parquet's own counts say."""
    if not os.path.exists(path):  # the one who reads its rows says so
        return False
    with _said_of(path), contextlib.ExitStack() as opened:
        file = _opened_parquet(opened, path)
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
        lacking = {chunk.path_in_schema for chunk in chunks if not chunk.statistics or chunk.statistics.null_count != 0}
        bytes_in = _paths_of_bytes(file.schema_arrow)
        return all(column in bytes_in and bytes_in[column] not in lacking for column in columns)


def _paths_of_bytes(schema):
    """{column: the name that Parquet has for its bytes}, of columns of bytes and of those with a value "bytes"."""
    import pyarrow.types as types

    found = {}
    for field in schema:
        if types.is_struct(field.type) and (index := field.type.get_field_index("bytes")) >= 0:
            if _has_bytes(field.type.field(index).type):
                found[field.name] = f"{field.name}.bytes"
        elif _has_bytes(field.type):
            found[field.name] = field.name
    return found


def features_of(schema):
    """{column: its feature} as Hugging Face's `datasets` writes it, such as {"_type": "Image"}; {} without any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def class_names(schema):
    """{column: [name of class 0, name of class 1, …]}."""
    found = {}
    for name, feature in features_of(schema).items():
        names = feature.get("names")
        if feature.get("_type") == "ClassLabel" and isinstance(names, list) and all(isinstance(n, str) for n in names):
            found[name] = names
    return found


def _opened_parquet(opened, path):
    import pyarrow.parquet as parquet

    require_regular(path)
    # By its path, in small parts and without reading ahead, all of which would take new memory for every row group.
    return opened.enter_context(parquet.ParquetFile(os.fspath(path), pre_buffer=False, buffer_size=_BUFFER))


def _parquet(opened, path, columns):
    file = _opened_parquet(opened, path)
    for group in range(file.metadata.num_row_groups):
        if file.metadata.row_group(group).total_byte_size > _MOST_ROW_GROUP:
            raise UserError(f"{path}: a row group of more than {_MOST_ROW_GROUP:,} bytes; write smaller ones")
    wanted = [n for n in file.schema_arrow.names if columns is None or _needed(n, columns)]
    return file.schema_arrow, file.iter_batches(_rows_at_once(file.schema_arrow), columns=wanted)


def _arrow(pyarrow, file):
    """Arrow's two forms: with a table of its parts at the end (Feather), and without (`save_to_disk`)."""
    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        opened = pyarrow.ipc.open_file(pyarrow.PythonFile(file, mode="r"))
        return opened.schema, (opened.get_batch(i) for i in range(opened.num_record_batches))
    opened = pyarrow.ipc.open_stream(pyarrow.PythonFile(file, mode="r"))
    return opened.schema, opened


def _needed(name, columns):
    return name in columns or any(column.startswith(f"{name}.") for column in columns)


def _rows_at_once(schema):
    return _BATCH_WITH_BYTES if any(map(_has_bytes, schema.types)) else _BATCH


def _has_bytes(type_):
    import pyarrow.types as types

    if types.is_struct(type_):
        return any(_has_bytes(type_.field(i).type) for i in range(type_.num_fields))
    return types.is_binary(type_) or types.is_large_binary(type_)


def _slices(batch, size):
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def _values(column, names):
    values = _in_microseconds(column).to_pylist()
    if not _is_plain(column.type):
        values = list(map(_plain, values))
    if names:
        return [names[v] if isinstance(v, int) and 0 <= v < len(names) else v for v in values]
    return values


def _in_microseconds(column):
    """Times in nanoseconds, which Python's times do not have, in microseconds; other columns as they are."""
    import pyarrow
    import pyarrow.types as types

    if getattr(column.type, "unit", None) != "ns":
        return column
    if types.is_timestamp(column.type):
        return column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    return column.cast(pyarrow.time64("us") if types.is_time64(column.type) else pyarrow.duration("us"), safe=False)


def _is_plain(type_):
    """Whether cells of this type have the types of JSON, or are bytes."""
    import pyarrow.types as types

    if types.is_struct(type_):
        return all(_is_plain(type_.field(i).type) for i in range(type_.num_fields))
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return _is_plain(type_.value_type)
    tests = "boolean integer floating string large_string binary large_binary fixed_size_binary null".split()
    return any(getattr(types, f"is_{test}")(type_) for test in tests)


def _plain(value):
    """A cell with numbers for decimals, and text for dates, times and what else there is."""
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value)


def _form(path):
    return "Parquet" if os.fspath(path).lower().endswith(".parquet") else "Arrow"


def _first_line(error):
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
