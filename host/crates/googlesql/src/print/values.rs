//! Literals, types, parts of dates, and intervals.

use host_contract::Error;
use sqlparser::ast::{
    ArrayElemTypeDef, DataType, DateTimeField, ExactNumberInfo, Expr, Interval, StructBracketKind, StructField,
    TimezoneInfo, Value, ValueWithSpan,
};

use super::{Printer, refused};
use crate::{
    allow_list::WEEKDAYS,
    literals::{is_name, quoted_string},
    typed::{Result, start},
};

impl Printer<'_> {
    pub(super) fn value(&mut self, value: &ValueWithSpan) -> Result<()> {
        let ValueWithSpan { value, span } = value;
        self.mark(span.start);
        let text = match value {
            Value::SingleQuotedString(text) => quoted_string(text),
            // The guard has escaped every byte.
            Value::SingleQuotedByteStringLiteral(text)
                if text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'\\' | b'x')) =>
            {
                format!("b'{text}'")
            }
            Value::Number(text, false) if is_number(text) => text.clone(),
            Value::HexStringLiteral(digits) if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
                format!("0x{digits}")
            }
            Value::Boolean(true) => "TRUE".to_owned(),
            Value::Boolean(false) => "FALSE".to_owned(),
            Value::Null => "NULL".to_owned(),
            Value::Placeholder(name) => return self.parameter(name),
            other => return Err(refused(format_args!("the literal {other}"))),
        };
        self.put(&text);
        Ok(())
    }

    /// `@name`
    pub(super) fn parameter(&mut self, name: &str) -> Result<()> {
        match name.strip_prefix('@') {
            Some(plain) if is_name(plain) => {
                self.put(name);
                Ok(())
            }
            _ => Err(refused(format_args!("the parameter {name}"))),
        }
    }

    pub(super) fn interval(&mut self, interval: &Interval) -> Result<()> {
        let Interval {
            value,
            leading_field: Some(first),
            leading_precision: None,
            last_field,
            fractional_seconds_precision: None,
        } = interval
        else {
            return Err(refused(format_args!("`{interval}`")));
        };
        self.put("INTERVAL ");
        self.expression(value)?;
        self.put(" ");
        self.part(first)?;
        match last_field {
            None => Ok(()),
            Some(last) => {
                self.put(" TO ");
                self.part(last)
            }
        }
    }

    /// A part of a date or time.
    pub(super) fn part(&mut self, field: &DateTimeField) -> Result<()> {
        let word = match field {
            DateTimeField::Year => "YEAR",
            DateTimeField::Month => "MONTH",
            DateTimeField::Week(None) => "WEEK",
            DateTimeField::Week(Some(day)) => {
                let day = day.value.to_ascii_uppercase();
                if !WEEKDAYS.contains(&day.as_str()) {
                    return Err(refused(format_args!("WEEK({day})")));
                }
                self.put(&format!("WEEK({day})"));
                return Ok(());
            }
            DateTimeField::Day => "DAY",
            DateTimeField::DayOfWeek => "DAYOFWEEK",
            DateTimeField::DayOfYear => "DAYOFYEAR",
            DateTimeField::Date => "DATE",
            DateTimeField::Datetime => "DATETIME",
            DateTimeField::Hour => "HOUR",
            DateTimeField::IsoWeek => "ISOWEEK",
            DateTimeField::Isoyear => "ISOYEAR",
            DateTimeField::Microsecond => "MICROSECOND",
            DateTimeField::Millisecond => "MILLISECOND",
            DateTimeField::Minute => "MINUTE",
            DateTimeField::Quarter => "QUARTER",
            DateTimeField::Second => "SECOND",
            DateTimeField::Time => "TIME",
            other => return Err(refused(format_args!("{other} as a date part"))),
        };
        self.put(word);
        Ok(())
    }

    pub(super) fn data_type(&mut self, kind: &DataType) -> Result<()> {
        let word = match kind {
            DataType::Int64 => "INT64",
            DataType::Integer(None) => "INTEGER",
            DataType::Int(None) => "INT",
            DataType::BigInt(None) => "BIGINT",
            DataType::SmallInt(None) => "SMALLINT",
            DataType::TinyInt(None) => "TINYINT",
            DataType::Float64 => "FLOAT64",
            DataType::Bool => "BOOL",
            DataType::Boolean => "BOOLEAN",
            DataType::Date => "DATE",
            DataType::Datetime(None) => "DATETIME",
            DataType::Time(None, TimezoneInfo::None) => "TIME",
            DataType::Timestamp(None, TimezoneInfo::None) => "TIMESTAMP",
            DataType::JSON => "JSON",
            DataType::Interval { fields: None, precision: None } => "INTERVAL",
            DataType::String(None) => "STRING",
            DataType::Bytes(None) => "BYTES",
            DataType::String(Some(length)) => return self.sized("STRING", *length, None),
            DataType::Bytes(Some(length)) => return self.sized("BYTES", *length, None),
            DataType::Numeric(size) => return self.number_type("NUMERIC", size),
            DataType::Decimal(size) => return self.number_type("DECIMAL", size),
            DataType::BigNumeric(size) => return self.number_type("BIGNUMERIC", size),
            DataType::BigDecimal(size) => return self.number_type("BIGDECIMAL", size),
            DataType::Array(ArrayElemTypeDef::AngleBracket(element)) => {
                self.put("ARRAY<");
                self.deeper(|printer| printer.data_type(element))?;
                ">"
            }
            DataType::Struct(fields, StructBracketKind::AngleBrackets) => {
                return self.deeper(|printer| printer.fields(fields));
            }
            DataType::Custom(name, modifiers)
                if modifiers.is_empty() && name.to_string().eq_ignore_ascii_case("GEOGRAPHY") =>
            {
                "GEOGRAPHY"
            }
            other => return Err(refused(format_args!("the type {other}"))),
        };
        self.put(word);
        Ok(())
    }

    /// `STRUCT<…>`
    pub(super) fn fields(&mut self, fields: &[StructField]) -> Result<()> {
        self.put("STRUCT<");
        self.list(fields, ", ", |printer, field| {
            let StructField { field_name, field_type, options: None } = field else {
                return Err(refused(format_args!("`{field}`")));
            };
            if let Some(name) = field_name {
                printer.name(name)?;
                printer.put(" ");
            }
            printer.data_type(field_type)
        })?;
        self.put(">");
        Ok(())
    }

    fn number_type(&mut self, name: &str, size: &ExactNumberInfo) -> Result<()> {
        match *size {
            ExactNumberInfo::None => {
                self.put(name);
                Ok(())
            }
            ExactNumberInfo::Precision(digits) => self.sized(name, digits, None),
            ExactNumberInfo::PrecisionAndScale(digits, scale) => self.sized(name, digits, Some(scale)),
        }
    }

    fn sized(&mut self, name: &str, size: u64, scale: Option<i64>) -> Result<()> {
        let scale = scale.map(|scale| format!(", {scale}")).unwrap_or_default();
        self.put(&format!("{name}({size}{scale})"));
        Ok(())
    }

    /// An argument that is a word, or `WEEK(MONDAY)`.
    pub(super) fn word(&mut self, expr: &Expr, words: &[&str]) -> Result<()> {
        match expr {
            Expr::Identifier(name) => match words.iter().find(|word| word.eq_ignore_ascii_case(&name.value)) {
                Some(word) => {
                    self.mark(name.span.start);
                    self.put(word);
                    Ok(())
                }
                None => Err(not_one_of(&name.value, words)),
            },
            Expr::Function(function)
                if words.contains(&"WEEK") && function.name.to_string().eq_ignore_ascii_case("WEEK") =>
            {
                self.expression(expr)
            }
            other => Err(not_one_of(&start(other), words)),
        }
    }
}

fn not_one_of(word: &str, words: &[&str]) -> Error {
    Error::Invalid(format!("query refused: `{word}` is not one of {}", words.join(", ")))
}

/// `1`, `1.5`, `.5`, `1e-3`
fn is_number(text: &str) -> bool {
    let (digits, exponent) =
        text.split_once(['e', 'E']).map_or((text, None), |(digits, exponent)| (digits, Some(exponent)));
    let all = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && all(text)
    });
    exponent && all(whole) && all(fraction) && !(whole.is_empty() && fraction.is_empty())
}
