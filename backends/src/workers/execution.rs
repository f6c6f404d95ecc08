//! Runs programs of one expression, such as `sum(items.price) * (1 + tax)`, on a JSON input. Numbers, `+ - * /`, parentheses, names that lead
//! into the input, and `sum`, `min`, `max`, `len`: nothing that loops, reads or writes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{event::Event, worker::Outcome};

const LONGEST_PROGRAM: usize = 1000;
const DEEPEST: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    program: String,
    #[serde(default)]
    input: Value,
}

pub(super) fn handle(event: &Event) -> Outcome {
    let ran = event.ask().and_then(|Order { program, input }| run(&program, &input));
    ran.map_or_else(Outcome::Failed, |value| Outcome::Done(json!({"value": value})))
}

fn run(program: &str, input: &Value) -> Result<f64, String> {
    if program.len() > LONGEST_PROGRAM {
        return Err(format!("the program is longer than {LONGEST_PROGRAM} bytes"));
    }
    let mut run = Run { rest: program, input, depth: 0 };
    let value = run.sum()?;
    match run.peek() {
        Some(letter) => Err(format!("{letter:?} is not expected here: {}", run.rest)),
        None if value.is_finite() => Ok(value),
        None => Err("the result is no number".to_owned()),
    }
}

struct Run<'p> {
    rest: &'p str,
    input: &'p Value,
    depth: usize,
}

impl<'p> Run<'p> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = self.rest.strip_prefix(wanted).unwrap_or_default();
        }
        found
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'p str {
        let end = self.rest.find(|letter| !belongs(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn sum(&mut self) -> Result<f64, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("the program is nested too deeply".to_owned());
        }
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value += self.product()?;
            } else if self.take('-') {
                value -= self.product()?;
            } else {
                self.depth -= 1;
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.value()?;
        loop {
            if self.take('*') {
                value *= self.value()?;
            } else if self.take('/') {
                match self.value()? {
                    0.0 => return Err("division by zero".to_owned()),
                    by => value /= by,
                }
            } else {
                return Ok(value);
            }
        }
    }

    fn value(&mut self) -> Result<f64, String> {
        let mut sign = 1.0;
        while self.take('-') {
            sign = -sign;
        }
        match self.peek() {
            Some('(') => {
                self.take('(');
                let value = self.sum()?;
                if self.take(')') { Ok(sign * value) } else { Err("a ) is missing".to_owned()) }
            }
            Some(letter) if letter.is_ascii_digit() => {
                let number = self.take_while(|letter| letter.is_ascii_digit() || letter == '.');
                number.parse::<f64>().map(|value| sign * value).map_err(|_| format!("{number} is no number"))
            }
            Some(letter) if letter.is_alphabetic() => self.name().map(|value| sign * value),
            Some(letter) => Err(format!("{letter:?} is not expected here: {}", self.rest)),
            None => Err("the program ends too early".to_owned()),
        }
    }

    fn name(&mut self) -> Result<f64, String> {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '.' || letter == '_';
        let name = self.take_while(is_name);
        if !self.take('(') {
            let found = numbers(self.input, name);
            return match found.as_slice() {
                [value] => Ok(*value),
                _ => Err(format!("{name} is not one number in the input")),
            };
        }
        self.peek();
        let values = numbers(self.input, self.take_while(is_name));
        if !self.take(')') {
            return Err(format!("write {name}(NAME)"));
        }
        let least_and_most = || values.iter().copied().reduce(f64::min).zip(values.iter().copied().reduce(f64::max));
        match name {
            "sum" => Ok(values.iter().sum()),
            "len" => Ok(values.iter().map(|_| 1.0).sum()),
            "min" => least_and_most().map(|(least, _)| least).ok_or_else(|| "min of nothing".to_owned()),
            "max" => least_and_most().map(|(_, most)| most).ok_or_else(|| "max of nothing".to_owned()),
            other => Err(format!("there is no {other}()")),
        }
    }
}

/// The numbers to which a name such as `items.price` leads; of a list, into each of its items.
fn numbers(input: &Value, name: &str) -> Vec<f64> {
    let mut found = vec![input];
    for part in name.split('.') {
        found = found.into_iter().flat_map(items).filter_map(|item| item.get(part)).collect();
    }
    found.into_iter().flat_map(items).filter_map(Value::as_f64).collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.as_array().map(Vec::as_slice);
    list.unwrap_or(std::slice::from_ref(value)).iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_computes_on_its_input() {
        let input = json!({"tax": 0.5, "items": [{"price": 10}, {"price": 4}], "list": [3, 1, 2]});
        for (program, value) in [
            ("1 + 2 * 3", 7.0),
            ("-(1 - 3) / 4", 0.5),
            ("sum(items.price) * (1 + tax)", 21.0),
            ("max(list) - min( list ) + len(items.price)", 4.0),
            ("sum(nothing)", 0.0),
        ] {
            assert!((run(program, &input).unwrap() - value).abs() < 1e-9, "{program}");
        }
    }

    #[test]
    fn what_is_no_program_is_told_and_never_a_panic() {
        for program in
            ["", "1 +", "1 / 0", "(1", "1 2", "list", "nothing", "min(nothing)", "exec(list)", "ä", "1e9", "9.9.9"]
        {
            assert!(run(program, &json!({"list": [1, 2]})).is_err(), "{program}");
        }
        assert!(run(&"(".repeat(900), &json!({})).unwrap_err().contains("deeply"));
        assert!(run(&"9".repeat(1001), &json!({})).unwrap_err().contains("longer"));
        assert!(run(&format!("{}.0*{}.0", "9".repeat(200), "9".repeat(200)), &json!({})).is_err());
    }
}
