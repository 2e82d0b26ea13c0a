//! Many changes in one program, each behind a switch: what is built once is tried a thousand times.
//!
//! ```text
//! a < b            (if on(1) { a <= b } else if on(2) { a > b } else { a < b })
//! fn f() -> T {    fn f() -> T { if on(3) { return T::default(); }
//! A if g => x      A if !on(4) && (on(5) || (g)) => x
//! S { f: 7, ..b }  S { f: (if on(6) { (b).f } else { 7 }), ..b }
//! ```
//!
//! A switched-on expression is the whole expression with the operator replaced in its text, so that
//! it binds as the change itself would. What cannot be written so is left out; it is built alone.

use std::collections::BTreeMap;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Block, Expr, ExprBinary, ExprStruct, ExprUnary};

use super::listing::Mutant;

/// The module that tells which change is switched on, by the environment.
pub const SWITCH: &str = "
#[doc(hidden)]
pub mod woven {
    use std::sync::OnceLock;

    static WHICH: OnceLock<Option<usize>> = OnceLock::new();

    #[inline]
    pub fn on(number: usize) -> bool {
        *WHICH.get_or_init(ask) == Some(number)
    }

    #[cold]
    fn ask() -> Option<usize> {
        let said = std::env::var(\"PRIMACY_MUTANT\").ok()?;
        Some(said.parse().expect(\"a number\"))
    }
}
";

/// One file with the changes in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Woven {
    pub text: String,
    /// Where each change stands.
    pub places: Vec<Place>,
    /// No program with any of these would be one.
    pub unviable: Vec<usize>,
}

/// Where changes stand in the woven text.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub range: Range<usize>,
    pub numbers: Vec<usize>,
    /// Nothing but the changed text: what the compiler says of it, it would say of the change.
    pub changed: bool,
}

/// Weaves the numbered changes into the file; those that cannot be are not in the result's places.
pub fn weave(text: &str, mutants: &[(usize, &Mutant)]) -> Result<Woven, String> {
    let file = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut by_range: BTreeMap<(usize, usize), Vec<(usize, &str)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        let range = mutant
            .range(text)
            .ok_or_else(|| format!("{} is not of this file", mutant.name))?;
        let at = by_range.entry((range.start, range.end)).or_default();
        at.push((*number, mutant.replacement()));
    }
    let mut weaver = Weaver {
        text,
        by_range,
        edits: Vec::new(),
        unviable: Vec::new(),
    };
    weaver.visit_file(&file);
    Ok(Woven {
        unviable: weaver.unviable,
        ..render(text, weaver.edits)
    })
}

/// Text put into the file; with the end of its region, if it opens one.
struct Edit {
    at: usize,
    pieces: Vec<Piece>,
    opens: Option<Region>,
    closes: Option<usize>,
}

struct Piece {
    text: String,
    number: Option<usize>,
}

struct Region {
    id: usize,
    numbers: Vec<usize>,
}

fn plain(text: impl Into<String>) -> Piece {
    Piece {
        text: text.into(),
        number: None,
    }
}

/// `(if on(N) { changed } else `, for each.
fn switched(changes: &[(usize, String)]) -> Vec<Piece> {
    let mut pieces = vec![plain("(")];
    for (number, changed) in changes {
        pieces.push(plain(format!("if crate::woven::on({number}) {{ ")));
        pieces.push(Piece {
            text: changed.clone(),
            number: Some(*number),
        });
        pieces.push(plain(" } else "));
    }
    pieces.push(plain("{ "));
    pieces
}

fn render(text: &str, mut edits: Vec<Edit>) -> Woven {
    edits.sort_by_key(|edit| edit.at);
    let mut woven = Woven::default();
    let mut open: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
    let mut copied = 0;
    for edit in edits {
        woven.text += &text[copied..edit.at];
        copied = edit.at;
        if let Some(region) = edit.opens {
            open.insert(region.id, (woven.text.len(), region.numbers));
        }
        for piece in edit.pieces {
            let start = woven.text.len();
            woven.text += &piece.text;
            if let Some(number) = piece.number {
                woven.places.push(Place {
                    range: start..woven.text.len(),
                    numbers: vec![number],
                    changed: true,
                });
            }
        }
        if let Some((start, numbers)) = edit.closes.and_then(|id| open.remove(&id)) {
            woven.places.push(Place {
                range: start..woven.text.len(),
                numbers,
                changed: false,
            });
        }
    }
    woven.text += &text[copied..];
    woven
}

struct Weaver<'a> {
    text: &'a str,
    by_range: BTreeMap<(usize, usize), Vec<(usize, &'a str)>>,
    /// In the order in which they are found: what encloses comes first at its start, last at its
    /// end.
    edits: Vec<Edit>,
    unviable: Vec<usize>,
}

impl<'a> Weaver<'a> {
    fn take(&mut self, range: &Range<usize>) -> Vec<(usize, &'a str)> {
        let found = self.by_range.remove(&(range.start, range.end));
        found.unwrap_or_default()
    }

    /// The text of `whole` with `part` replaced.
    fn with(&self, whole: &Range<usize>, part: &Range<usize>, replacement: &str) -> String {
        let before = &self.text[whole.start..part.start];
        let after = &self.text[part.end..whole.end];
        format!("{before}{replacement}{after}")
    }

    /// `pieces` before `whole`, `after` behind it, and what `inner` finds between them.
    fn around(
        &mut self,
        whole: &Range<usize>,
        numbers: Vec<usize>,
        pieces: Vec<Piece>,
        after: &str,
        inner: impl FnOnce(&mut Self),
    ) {
        let id = self.edits.len();
        self.edits.push(Edit {
            at: whole.start,
            pieces,
            opens: Some(Region { id, numbers }),
            closes: None,
        });
        inner(self);
        self.edits.push(Edit {
            at: whole.end,
            pieces: vec![plain(after)],
            opens: None,
            closes: Some(id),
        });
    }

    /// Each change of one of its operators instead of the whole expression; `inner` finds the rest.
    fn switch(
        &mut self,
        whole: &Range<usize>,
        operators: &[Range<usize>],
        inner: impl FnOnce(&mut Self),
    ) {
        let mut changes = Vec::new();
        for operator in operators {
            for (number, replacement) in self.take(operator) {
                changes.push((number, self.with(whole, operator, replacement)));
            }
        }
        if changes.is_empty() {
            return inner(self);
        }
        let numbers = changes.iter().map(|(number, _)| *number).collect();
        self.around(whole, numbers, switched(&changes), " })", inner);
    }

    /// What is no operator of the expression.
    fn operands(&mut self, binary: &ExprBinary) {
        for side in [&*binary.left, &*binary.right] {
            match side {
                Expr::Binary(side) => self.operands(side),
                side => self.visit_expr(side),
            }
        }
    }

    fn body(&mut self, block: &Block) {
        let braces = range(block);
        // From the first statement to the last, or what stands between the braces.
        let whole = match (block.stmts.first(), block.stmts.last()) {
            (Some(first), Some(last)) => range(first).start..range(last).end,
            _ => braces.start + 1..braces.end - 1,
        };
        let mut found = self.take(&whole);
        found.extend(self.take(&braces));
        for (number, replacement) in found {
            let pieces = vec![
                plain(format!(" if crate::woven::on({number}) {{ return ")),
                Piece {
                    text: replacement.trim_matches(['{', '}']).trim().into(),
                    number: Some(number),
                },
                plain("; } "),
            ];
            let at = braces.start + 1;
            self.around(&(at..at), vec![number], pieces, "", |_| {});
        }
    }
}

/// The operators of one expression, down to what is no operator of it.
fn operators(binary: &ExprBinary, found: &mut Vec<Range<usize>>) {
    if let Expr::Binary(left) = &*binary.left {
        operators(left, found);
    }
    found.push(range(&binary.op));
    if let Expr::Binary(right) = &*binary.right {
        operators(right, found);
    }
}

/// A condition with `let` cannot stand in parentheses.
fn has_let(binary: &ExprBinary) -> bool {
    let mut sides = [&*binary.left, &*binary.right].into_iter();
    matches!(binary.op, BinOp::And(_))
        && sides.any(|side| match side {
            Expr::Let(_) => true,
            Expr::Binary(side) => has_let(side),
            _ => false,
        })
}

fn range(of: &impl Spanned) -> Range<usize> {
    of.span().byte_range()
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        if has_let(binary) {
            // Nothing but `&&` stands beside `let`.
            let found = self.take(&range(&binary.op)).into_iter();
            self.unviable.extend(found.map(|(number, _)| number));
            return visit::visit_expr_binary(self, binary);
        }
        let mut found = Vec::new();
        operators(binary, &mut found);
        self.switch(&range(binary), &found, |weaver| weaver.operands(binary));
    }

    fn visit_expr_unary(&mut self, unary: &'ast ExprUnary) {
        self.switch(&range(unary), &[range(&unary.op)], |weaver| {
            visit::visit_expr_unary(weaver, unary);
        });
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let deleted = self.take(&range(arm));
        let mut condition: Vec<String> = deleted
            .iter()
            .map(|(number, _)| format!("!crate::woven::on({number})"))
            .collect();
        let mut numbers: Vec<usize> = deleted.iter().map(|(number, _)| *number).collect();
        self.visit_pat(&arm.pat);
        if let Some((_, guard)) = &arm.guard {
            let whole = range(&**guard);
            let mut open = String::new();
            for (number, replacement) in self.take(&whole) {
                numbers.push(number);
                match replacement {
                    "true" => open += &format!("crate::woven::on({number}) || "),
                    _ => condition.push(format!("!crate::woven::on({number})")),
                }
            }
            if numbers.is_empty() {
                self.visit_expr(guard);
            } else {
                let never: String = condition
                    .iter()
                    .map(|never| format!("{never} && "))
                    .collect();
                let pieces = vec![plain(format!("{never}({open}("))];
                self.around(&whole, numbers, pieces, "))", |weaver| {
                    weaver.visit_expr(guard)
                });
            }
        } else if !numbers.is_empty() {
            let at = range(&arm.pat).end;
            let pieces = vec![plain(format!(" if {}", condition.join(" && ")))];
            self.around(&(at..at), numbers, pieces, "", |_| {});
        }
        self.visit_expr(&arm.body);
    }

    fn visit_expr_struct(&mut self, of: &'ast ExprStruct) {
        let Some(rest) = &of.rest else {
            return visit::visit_expr_struct(self, of);
        };
        let rest = range(&**rest);
        for field in &of.fields {
            let (whole, value) = (range(field), range(&field.expr));
            // The comma goes with it.
            let mut found = self.take(&(whole.start..whole.end + 1));
            found.extend(self.take(&whole));
            let Some((number, _)) = found.first() else {
                self.visit_expr(&field.expr);
                continue;
            };
            let member = &self.text[range(&field.member)];
            let changed = format!("({}).{member}", &self.text[rest.clone()]);
            let mut pieces = switched(&[(*number, changed)]);
            if field.colon_token.is_some() {
                self.around(&value, vec![*number], pieces, " })", |weaver| {
                    weaver.visit_expr(&field.expr);
                });
            } else {
                pieces.insert(0, plain(": "));
                pieces.push(plain(format!("{member} }})")));
                self.around(&(value.end..value.end), vec![*number], pieces, "", |_| {});
            }
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    // The compiler itself computes these: there is no switch then.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_type_array(&mut self, _: &'ast syn::TypeArray) {}
    fn visit_expr_repeat(&mut self, _: &'ast syn::ExprRepeat) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file with each `(what, number-th of it, replacement)` woven in.
    fn woven(text: &str, changes: &[(&str, usize, &str)]) -> Woven {
        let mutants: Vec<Mutant> = changes
            .iter()
            .map(|(what, number, replacement)| {
                let (at, _) = text.match_indices(what).nth(*number).expect("it is there");
                Mutant::replacing(text, at..at + what.len(), replacement)
            })
            .collect();
        let numbered: Vec<(usize, &Mutant)> = mutants.iter().enumerate().collect();
        weave(text, &numbered).expect("woven")
    }

    fn numbers(woven: &Woven) -> Vec<usize> {
        let mut all: Vec<usize> = woven
            .places
            .iter()
            .flat_map(|place| place.numbers.clone())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn an_operator_is_replaced_in_the_whole_expression() {
        let text = "fn f(a: bool, b: bool, c: bool) -> bool { a && b && !c }";
        let found = woven(text, &[("&&", 0, "||"), ("&&", 1, "||"), ("!", 0, "")]);
        assert_eq!(
            found.text,
            "fn f(a: bool, b: bool, c: bool) -> bool { \
             (if crate::woven::on(0) { a || b && !c } \
             else if crate::woven::on(1) { a && b || !c } \
             else { a && b && (if crate::woven::on(2) { c } else { !c }) }) }"
        );
        assert_eq!(numbers(&found), [0, 1, 2]);
    }

    #[test]
    fn a_body_gives_another_value_at_once() {
        let text = "fn f() -> u8 {\n    let a = 7;\n    a\n}\nconst fn g() -> u8 { 3 }";
        let found = woven(text, &[("let a = 7;\n    a", 0, "1"), ("3", 0, "0")]);
        let body = "fn f() -> u8 { if crate::woven::on(0) { return 1; } \n    let a = 7;\n    a\n}";
        assert_eq!(found.text, format!("{body}\nconst fn g() -> u8 {{ 3 }}"));
        assert_eq!(
            numbers(&found),
            [0],
            "what the compiler computes has no switch"
        );
    }

    #[test]
    fn an_arm_is_deleted_and_a_guard_decided_by_a_guard() {
        let text = "fn f(a: u8) -> u8 { match a { 0 => 1, n if n > 7 => 2, _ => 3 } }";
        let changes = [
            ("0 => 1,", 0, ""),
            ("n > 7", 0, "true"),
            ("n > 7", 0, "false"),
            (">", 2, ">="),
        ];
        let found = woven(text, &changes);
        let zero = "0 if !crate::woven::on(0) => 1";
        let other = "n if !crate::woven::on(2) && (crate::woven::on(1) || \
                     ((if crate::woven::on(3) { n >= 7 } else { n > 7 }))) => 2";
        assert_eq!(
            found.text,
            format!("fn f(a: u8) -> u8 {{ match a {{ {zero}, {other}, _ => 3 }} }}")
        );
    }

    #[test]
    fn a_condition_with_let_stays_as_it_is_but_for_its_parts() {
        let text =
            "fn f(a: Option<u8>) -> bool { if let Some(b) = a && b < 7 { true } else { false } }";
        let found = woven(text, &[("&&", 0, "||"), ("<", 1, "<=")]);
        let condition = "let Some(b) = a && (if crate::woven::on(1) { b <= 7 } else { b < 7 })";
        assert!(found.text.contains(condition), "{}", found.text);
        assert_eq!(numbers(&found), [1]);
        assert_eq!(found.unviable, [0]);
    }

    #[test]
    fn a_field_is_left_to_what_the_rest_comes_from() {
        let text = "fn f() -> S { S { a: 7, b, ..S::fast() } }";
        let found = woven(text, &[("a: 7,", 0, ""), ("b,", 0, "")]);
        let a = "a: (if crate::woven::on(0) { (S::fast()).a } else { 7 })";
        let b = "b: (if crate::woven::on(1) { (S::fast()).b } else { b })";
        assert_eq!(
            found.text,
            format!("fn f() -> S {{ S {{ {a}, {b}, ..S::fast() }} }}")
        );
    }

    #[test]
    fn what_is_woven_is_rust() {
        let text =
            "fn f(a: u8, b: u8) -> bool { if a == 1 || b != 2 { a <= b } else { !(a > b) } }";
        let changes = [
            ("==", 0, "!="),
            ("||", 0, "&&"),
            ("!=", 0, "=="),
            ("<=", 0, ">"),
            ("!", 1, ""),
        ];
        let found = woven(text, &changes);
        assert_eq!(numbers(&found), [0, 1, 2, 3, 4]);
        syn::parse_file(&found.text).expect("it parses");
    }
}
