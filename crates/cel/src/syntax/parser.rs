//! The grammar, by precedence climbing, so that nesting costs little stack.

use std::sync::Arc;

use super::lexer::{Token, TokenKind, tokens};
use super::macros;
use super::source::{CompileError, Mistake};
use crate::ast::{Call, Element, Entry, Expr, Initializer, Kind, Message, Select, operator};
use crate::value::Value;

/// Longest expression, in characters.
const MAX_SIZE: usize = 100_000;
/// Deepest nesting of an expression.
const MAX_DEPTH: u32 = 250;
/// Highest tree; macros make trees higher than what is written.
const MAX_HEIGHT: u16 = 500;

/// A tree and where each of its nodes stands in the text.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) expr: Expr,
    /// By id, in characters from the start.
    pub(crate) positions: Vec<u32>,
}

/// Reads an expression, in which `cel.bind` is a macro if there are `bindings`.
///
/// # Errors
/// What is not an expression, or is a larger one than any rule needs.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Parsed, CompileError> {
    let size = source.chars().count();
    if size > MAX_SIZE {
        return Err(CompileError::whole(format!(
            "expression code point size exceeds limit: size: {size}, limit {MAX_SIZE}"
        )));
    }
    let tokens = tokens(source).map_err(|mistakes| CompileError::new(source, mistakes))?;
    let mut parser =
        Parser { tokens, at: 0, nodes: Nodes::default(), mistakes: Vec::new(), depth: 0, bindings };
    match parser.whole() {
        Ok(expr) if parser.mistakes.is_empty() => {
            Ok(Parsed { expr, positions: parser.nodes.positions })
        }
        _ => Err(CompileError::new(source, parser.mistakes)),
    }
}

/// The mistake is noted in the parser.
#[derive(Debug)]
pub(super) struct Failed;

type Result<T, E = Failed> = std::result::Result<T, E>;

pub(super) struct Parser {
    tokens: Vec<Token>,
    at: usize,
    pub(super) nodes: Nodes,
    mistakes: Vec<Mistake>,
    depth: u32,
    pub(super) bindings: bool,
}

/// Hands out ids and keeps what is known by id.
#[derive(Default)]
pub(super) struct Nodes {
    positions: Vec<u32>,
    heights: Vec<u16>,
}

/// Words that the language keeps for itself.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

impl Parser {
    fn whole(&mut self) -> Result<Expr> {
        let expr = self.expr()?;
        match self.peek().kind {
            TokenKind::End => Ok(expr),
            _ => Err(self.mismatched("<EOF>")),
        }
    }

    fn expr(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep());
        }
        let mut expr = self.binary(0)?;
        if self.symbol_is("?") {
            let position = self.advance().position;
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expr()?;
            expr = self.call(position, operator::CONDITIONAL, None, vec![expr, yes, no])?;
        }
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators of at least this level: `||`, `&&`, relations, sums, products.
    fn binary(&mut self, least: u8) -> Result<Expr> {
        let mut left = self.unary()?;
        while let Some((level, function)) = self.operator().filter(|(level, _)| *level >= least) {
            if level < 2 {
                left = self.logical(left, level, function)?;
                continue;
            }
            let position = self.advance().position;
            let right = self.binary(level + 1)?;
            left = self.call(position, function, None, vec![left, right])?;
        }
        Ok(left)
    }

    /// `&&` and `||` become balanced trees: long chains of them are usual.
    fn logical(&mut self, first: Expr, level: u8, function: &'static str) -> Result<Expr> {
        let (mut terms, mut positions) = (vec![first], Vec::new());
        while self.operator() == Some((level, function)) {
            positions.push(self.advance().position);
            terms.push(self.binary(level + 1)?);
        }
        self.balanced(function, terms, &positions)
    }

    fn balanced(
        &mut self,
        function: &'static str,
        mut terms: Vec<Expr>,
        positions: &[u32],
    ) -> Result<Expr> {
        if terms.len() == 1
            && let Some(term) = terms.pop()
        {
            return Ok(term);
        }
        let middle = positions.len() / 2;
        let rest = terms.split_off(middle + 1);
        let left = self.balanced(function, terms, &positions[..middle])?;
        let right = self.balanced(function, rest, &positions[middle + 1..])?;
        self.call(positions[middle], function, None, vec![left, right])
    }

    /// The operator that comes next, with its level.
    fn operator(&self) -> Option<(u8, &'static str)> {
        let token = self.peek();
        if token.kind == TokenKind::Ident {
            return (&*token.text == "in").then_some((2, operator::IN));
        }
        let TokenKind::Symbol(symbol) = token.kind else {
            return None;
        };
        Some(match symbol {
            "||" => (0, operator::OR),
            "&&" => (1, operator::AND),
            "==" => (2, operator::EQUALS),
            "!=" => (2, "_!=_"),
            "<" => (2, "_<_"),
            "<=" => (2, "_<=_"),
            ">" => (2, "_>_"),
            ">=" => (2, "_>=_"),
            "+" => (3, operator::ADD),
            "-" => (3, "_-_"),
            "*" => (4, "_*_"),
            "/" => (4, "_/_"),
            "%" => (4, "_%_"),
            _ => return None,
        })
    }

    fn unary(&mut self) -> Result<Expr> {
        let (symbol, function) = if self.symbol_is("!") {
            ("!", operator::NOT)
        } else if self.symbol_is("-") && !self.number_follows() {
            ("-", operator::NEGATE)
        } else {
            return self.member();
        };
        let position = self.peek().position;
        let mut odd = false;
        while self.symbol_is(symbol) && !(symbol == "-" && self.number_follows()) {
            self.advance();
            odd = !odd;
        }
        let operand = self.member()?;
        if odd { self.call(position, function, None, vec![operand]) } else { Ok(operand) }
    }

    fn number_follows(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
        matches!(next, Some(TokenKind::Int | TokenKind::Double))
    }

    fn member(&mut self) -> Result<Expr> {
        let mut expr = self.primary()?;
        loop {
            if self.symbol_is(".") {
                expr = self.selection(expr)?;
            } else if self.symbol_is("[") {
                let position = self.advance().position;
                let optional = self.take("?");
                let index = self.expr()?;
                self.expect("]")?;
                let function = if optional { operator::OPTIONAL_INDEX } else { operator::INDEX };
                expr = self.call(position, function, None, vec![expr, index])?;
            } else if self.symbol_is("{")
                && let Some(name) = expr.qualified_name()
            {
                expr = self.message(name.into())?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn selection(&mut self, operand: Expr) -> Result<Expr> {
        let dot = self.advance().position;
        let optional = self.take("?");
        let name = self.name()?;
        if optional {
            let literal = self.node(dot, Kind::Literal(Value::String(name)))?;
            return self.call(dot, operator::OPTIONAL_SELECT, None, vec![operand, literal]);
        }
        if self.symbol_is("(") {
            let open = self.peek().position;
            let args = self.arguments()?;
            return self.method(open, name, operand, args);
        }
        let select = Select { operand: Box::new(operand), field: name, test_only: false };
        self.node(dot, Kind::Select(select))
    }

    fn method(
        &mut self,
        position: u32,
        name: Arc<str>,
        target: Expr,
        args: Vec<Expr>,
    ) -> Result<Expr> {
        match macros::expand_member(self, position, &name, target, args)? {
            macros::Expanded::Macro(expr) => Ok(expr),
            macros::Expanded::Call(target, args) => self.node(
                position,
                Kind::Call(Call { function: name, target: Some(Box::new(target)), args }),
            ),
        }
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.peek().clone();
        let position = token.position;
        match token.kind {
            TokenKind::Symbol("(") => {
                self.advance();
                let expr = self.expr()?;
                self.expect(")")?;
                Ok(expr)
            }
            TokenKind::Symbol("[") => self.list(),
            TokenKind::Symbol("{") => self.map(),
            TokenKind::Symbol("-") if self.number_follows() => {
                self.advance();
                self.number("-", position)
            }
            TokenKind::Symbol(".") => {
                self.advance();
                self.identifier()
            }
            TokenKind::Int | TokenKind::Uint | TokenKind::Double => self.number("", position),
            TokenKind::String(text) => {
                self.advance();
                self.node(position, Kind::Literal(Value::String(text)))
            }
            TokenKind::Bytes(bytes) => {
                self.advance();
                self.node(position, Kind::Literal(Value::Bytes(bytes)))
            }
            TokenKind::Ident => {
                let literal = match &*token.text {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    "null" => Value::Null,
                    _ => return self.identifier(),
                };
                self.advance();
                self.node(position, Kind::Literal(literal))
            }
            _ => Err(self.mismatched(STARTS)),
        }
    }

    fn identifier(&mut self) -> Result<Expr> {
        let position = self.peek().position;
        let name = self.name()?;
        if RESERVED.contains(&&*name) {
            return Err(self.mistake(Some(position), format!("reserved identifier: {name}")));
        }
        if self.symbol_is("(") {
            let open = self.peek().position;
            let args = self.arguments()?;
            return match macros::expand_global(self, open, &name, args)? {
                macros::Expanded::Macro(expr) | macros::Expanded::Call(expr, _) => Ok(expr),
            };
        }
        self.node(position, Kind::Ident(name))
    }

    fn message(&mut self, name: Arc<str>) -> Result<Expr> {
        let position = self.advance().position;
        let mut fields = Vec::new();
        while !self.symbol_is("}") {
            let optional = self.take("?");
            let name = self.name()?;
            let id = self.nodes.add(self.peek().position, 0);
            self.expect(":")?;
            fields.push(Initializer { id, name, value: self.expr()?, optional });
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        self.node(position, Kind::Message(Message { name, fields }))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>> {
        self.expect("(")?;
        let mut args = Vec::new();
        while !self.symbol_is(")") {
            args.push(self.expr()?);
            if !self.take(",") {
                break;
            }
            if self.symbol_is(")") {
                return Err(self.mismatched(STARTS));
            }
        }
        self.expect(")")?;
        Ok(args)
    }

    fn list(&mut self) -> Result<Expr> {
        let position = self.advance().position;
        let mut elements = Vec::new();
        while !self.symbol_is("]") {
            let optional = self.take("?");
            elements.push(Element { value: self.expr()?, optional });
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        self.node(position, Kind::List(elements))
    }

    fn map(&mut self) -> Result<Expr> {
        let position = self.advance().position;
        let mut entries = Vec::new();
        while !self.symbol_is("}") {
            let optional = self.take("?");
            let key = self.expr()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        self.node(position, Kind::Map(entries))
    }

    fn number(&mut self, sign: &str, position: u32) -> Result<Expr> {
        let token = self.advance();
        let text = &token.text;
        let (literal, kind) = match token.kind {
            TokenKind::Double => {
                let value = format!("{sign}{text}").parse().ok().filter(|v: &f64| v.is_finite());
                (value.map(Value::Double), "double")
            }
            TokenKind::Uint => {
                let digits = &text[..text.len() - 1];
                (integer("", digits).and_then(|n| u64::try_from(n).ok()).map(Value::Uint), "uint")
            }
            _ => (integer(sign, text).and_then(|n| i64::try_from(n).ok()).map(Value::Int), "int"),
        };
        match literal {
            Some(literal) => self.node(position, Kind::Literal(literal)),
            None => Err(self.mistake(Some(position), format!("invalid {kind} literal"))),
        }
    }

    // Building nodes.

    pub(super) fn call(
        &mut self,
        position: u32,
        function: &'static str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Result<Expr> {
        let call = Call { function: function.into(), target: target.map(Box::new), args };
        self.node(position, Kind::Call(call))
    }

    pub(super) fn node(&mut self, position: u32, kind: Kind) -> Result<Expr> {
        let height = 1 + self.nodes.height_below(&kind);
        if height > MAX_HEIGHT {
            return Err(self.too_deep());
        }
        let id = self.nodes.add(position, height);
        Ok(Expr { id, kind })
    }

    // Tokens.

    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    /// Takes a token; the end stays.
    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn symbol_is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Symbol(is) if is == symbol)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is = self.symbol_is(symbol);
        if is {
            self.advance();
        }
        is
    }

    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.take(symbol) { Ok(()) } else { Err(self.mismatched(&format!("'{symbol}'"))) }
    }

    fn name(&mut self) -> Result<Arc<str>> {
        match self.peek().kind {
            TokenKind::Ident if !matches!(&*self.peek().text, "true" | "false" | "null" | "in") => {
                Ok(self.advance().text.into())
            }
            _ => Err(self.mismatched("IDENTIFIER")),
        }
    }

    // Mistakes.

    fn mismatched(&mut self, expected: &str) -> Failed {
        let token = self.peek();
        let text = if token.kind == TokenKind::End { "<EOF>" } else { &*token.text };
        let message = format!("Syntax error: mismatched input '{text}' expecting {expected}");
        let position = token.position;
        self.mistake(Some(position), message)
    }

    fn too_deep(&mut self) -> Failed {
        self.mistake(None, format!("expression recursion limit exceeded: {MAX_DEPTH}"))
    }

    pub(super) fn mistake(&mut self, position: Option<u32>, message: String) -> Failed {
        self.mistakes.push(Mistake { position, message });
        Failed
    }
}

fn integer(sign: &str, text: &str) -> Option<i128> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    i128::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

impl Nodes {
    fn add(&mut self, position: u32, height: u16) -> u32 {
        self.positions.push(position);
        self.heights.push(height);
        self.positions.len() as u32 - 1
    }

    pub(super) fn position(&self, expr: &Expr) -> u32 {
        self.positions[expr.id as usize]
    }

    fn height_below(&self, kind: &Kind) -> u16 {
        let of = |expr: &Expr| self.heights[expr.id as usize];
        match kind {
            Kind::Literal(_) | Kind::Ident(_) => 0,
            Kind::Message(message) => {
                message.fields.iter().map(|field| of(&field.value)).max().unwrap_or(0)
            }
            Kind::Select(select) => of(&select.operand),
            Kind::Call(call) => {
                let target = call.target.as_deref().map_or(0, of);
                call.args.iter().map(of).max().unwrap_or(0).max(target)
            }
            Kind::List(elements) => elements.iter().map(|e| of(&e.value)).max().unwrap_or(0),
            Kind::Map(entries) => {
                entries.iter().map(|e| of(&e.key).max(of(&e.value))).max().unwrap_or(0)
            }
            Kind::Comprehension(of_loop) => {
                [&of_loop.range, &of_loop.init, &of_loop.condition, &of_loop.step, &of_loop.result]
                    .into_iter()
                    .map(of)
                    .max()
                    .unwrap_or(0)
            }
        }
    }
}
