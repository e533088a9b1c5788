//! Expressions that are true.

use std::collections::BTreeMap;

use cel::{Env, PER_CALL_LIMIT, Type, Value};
use serde_json::json;

/// Every line is an expression that must be true.
fn check(expressions: &str) {
    let object = json!({
        "name": "web", "replicas": 3, "ratio": 0.5, "on": true, "nothing": null,
        "labels": {"app": "web", "tier": "front"}, "ports": [80, 443], "empty": [],
        "nested": [{"name": "a", "value": 1}, {"name": "b", "value": 2}],
    });
    let env = Env::new()
        .with("object", Type::Dyn)
        .with("labels", Type::map(Type::String, Type::String))
        .with("ports", Type::list(Type::Int))
        .with("name", Type::String)
        .with("maybe", Type::optional(Type::String));
    let variables = BTreeMap::from([
        ("labels".to_owned(), Value::from_json(&object["labels"])),
        ("ports".to_owned(), Value::from_json(&object["ports"])),
        ("name".to_owned(), Value::string("web")),
        ("maybe".to_owned(), Value::some(Value::string("there"))),
        ("object".to_owned(), Value::from_json(&object)),
    ]);
    let mut failures = Vec::new();
    let lines = expressions.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines {
        match env.compile(line) {
            Err(error) => failures.push(error.to_string()),
            Ok(program) => match program.evaluate(&variables, PER_CALL_LIMIT).result {
                Ok(Value::Bool(true)) => {}
                other => failures.push(format!("{line}: {other:?}")),
            },
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn literals_and_arithmetic() {
    check(
        r#"
        1 + 2 * 3 == 7
        (1 + 2) * 3 == 9
        7 / 2 == 3 && -7 / 2 == -3 && 7 % 3 == 1 && -7 % 3 == -1
        7.0 / 2.0 == 3.5
        0x10 == 16 && -0x10 == -16
        5u - 3u == 2u
        1e3 == 1000.0 && .5 == 0.5 && 1.5e-1 == 0.15
        -(-1) == 1 && - 1 == -1
        !false && !!true
        9223372036854775807 > -9223372036854775808
        18446744073709551615u > 0u
        'a' + "b" == 'ab'
        b'ab' + b'c' == b'abc'
        "\x41\u0042\U00000043\104" == 'ABCD'
        '\a\b\f\n\r\t\v\\\'\"\?\`' != ''
        r'\d' == '\\d' && R"\n" == "\\n"
        '''a'b''' == "a'b" && """x"y""" == 'x"y'
        b'\xff\377' == b'\xff\xff' && size(b'\xff') == 1
        [1, 2] + [3] == [1, 2, 3]
        [] == [] && {} == {} && [[]] != []
        {'a': 1, 'b': 2} == {'b': 2, 'a': 1}
        {1: 'a'}[1] == 'a' && {true: 1}[true] == 1 && {1u: 2}[1u] == 2
        null == null
        1 < 2 && 2 <= 2 && 'a' < 'b' && b'a' < b'b' && false < true
        1 < 1.5 && 2u > 1 && 1.5 <= 2u && 1 >= 1u && 3.0 > 2u
        dyn(1) == dyn(1.0) && dyn(1) == dyn(1u) && dyn(1) != dyn('1')
        true ? true : false
        (false ? 'a' : 'b') == 'b'
        false || true && true
        1 == 1 // a comment
        "#,
    );
}

#[test]
fn errors_do_not_matter_where_the_other_side_decides() {
    check(
        "
        true || 1 / 0 == 1
        1 / 0 == 1 || true
        !(false && 1 / 0 == 1)
        !(1 / 0 == 1 && false)
        [1, 0, 2].exists(x, 2 / x == 1)
        ![1, 0, 3].all(x, 2 / x == 2 && x != 3)
        ",
    );
}

#[test]
fn selection_and_presence() {
    check(
        "
        object.name == 'web' && object['name'] == 'web'
        object.replicas == 3 && object.ratio == 0.5 && object.on
        object.nothing == null
        has(object.name) && !has(object.missing) && has(object.nothing)
        has(object.labels.app) && !has(object.labels.zone)
        labels.app == 'web' && 'app' in labels && !('zone' in labels)
        ports[0] == 80 && 443 in ports && !(8080 in ports)
        object.ports[1] == 443 && object.nested[1].name == 'b'
        size(labels) == 2 && labels.size() == 2 && ports.size() == 2 && size('héé') == 3
        .name == 'web'
        ",
    );
}

#[test]
fn macros() {
    check(
        "
        ports.all(p, p > 0) && !ports.all(p, p > 80)
        ports.exists(p, p == 443) && !ports.exists(p, p == 1)
        ports.exists_one(p, p > 80) && !ports.existsOne(p, p > 0)
        ports.map(p, p * 2) == [160, 886]
        ports.map(p, p > 80, p * 2) == [886]
        ports.filter(p, p > 80) == [443]
        labels.all(k, labels[k] != '')
        labels.map(k, k) == ['app', 'tier']
        [].all(x, false) && ![].exists(x, true)
        ports.all(i, p, i < 2 && p > 0)
        ports.exists(i, p, i == 1 && p == 443)
        ports.existsOne(i, p, p > 80)
        labels.all(k, v, k != v)
        ports.transformList(i, p, i + p) == [80, 444]
        ports.transformList(i, p, i > 0, p) == [443]
        labels.transformList(k, v, k + v) == ['appweb', 'tierfront']
        labels.transformMap(k, v, v.size()) == {'app': 3, 'tier': 5}
        labels.transformMap(k, v, k == 'app', v) == {'app': 'web'}
        ports.transformMap(i, p, p) == {0: 80, 1: 443}
        labels.transformMapEntry(k, v, {v: k}) == {'web': 'app', 'front': 'tier'}
        object.nested.map(x, x.value) == [1, 2]
        [[1, 2], [3]].map(x, x.map(y, y + 1)) == [[2, 3], [4]]
        [1, 2, 3].map(x, [1, 2].filter(y, y < x)) == [[], [1], [1, 2]]
        ",
    );
}

#[test]
fn optional_values() {
    check(
        "
        object.?name.hasValue() && !object.?missing.hasValue()
        object.?name.orValue('x') == 'web' && object.?missing.orValue('x') == 'x'
        object.?labels.?zone.orValue('none') == 'none'
        object.?labels.app.orValue('none') == 'web'
        labels[?'app'].value() == 'web' && !labels[?'zone'].hasValue()
        ports[?0] == optional.of(80) && ports[?5] == optional.none()
        optional.of(1).or(optional.of(2)).value() == 1
        optional.none().or(optional.of(2)).value() == 2
        optional.ofNonZeroValue('').hasValue() == false
        optional.ofNonZeroValue('a').hasValue()
        maybe.optMap(x, x.size()).value() == 5
        !optional.none().optMap(x, x).hasValue()
        maybe.optFlatMap(x, labels[?x]).orValue('no') == 'no'
        [?labels[?'app'], ?labels[?'zone']] == ['web']
        {?'a': labels[?'app'], ?'b': labels[?'zone']} == {'a': 'web'}
        has(object.?labels.app) && !has(object.?nolabels.app)
        maybe.hasValue() && maybe.value() == 'there'
        ",
    );
}

#[test]
fn conversions_and_types() {
    check(
        "
        int('12') == 12 && int(1.9) == 1 && int(-1.9) == -1 && int(3u) == 3
        uint('12') == 12u && uint(3) == 3u && double('1.5') == 1.5 && double(2) == 2.0
        string(1) == '1' && string(1.5) == '1.5' && string(true) == 'true' && string(2u) == '2'
        string(b'abc') == 'abc' && bytes('abc') == b'abc'
        string(1e30) == '1e+30' && string(0.00001) == '1e-05' && string(100.0) == '100'
        bool('true') && !bool('false') && bool('T')
        type(1) == int && type('') == string && type(1.0) == double && type(1u) == uint
        type([]) == list && type({}) == map && type(null) == null_type && type(b'') == bytes
        type(type(1)) == type && type(int) == type && type(true) == bool
        type(duration('1s')) == google.protobuf.Duration
        type(timestamp(0)) == google.protobuf.Timestamp
        type(optional.none()) == optional_type
        type(object.replicas) == int && type(object.ratio) == double
        type(object.ports) == list && type(object) == map
        string(duration('1h1m')) == '3660s' && string(duration('1500ms')) == '1.5s'
        string(timestamp('2024-01-02T03:04:05Z')) == '2024-01-02T03:04:05Z'
        ",
    );
}

#[test]
fn times() {
    check(
        "
        timestamp('2024-02-29T23:59:58.123Z').getFullYear() == 2024
        timestamp('2024-02-29T23:59:58.123Z').getMonth() == 1
        timestamp('2024-02-29T23:59:58.123Z').getDate() == 29
        timestamp('2024-02-29T23:59:58.123Z').getDayOfMonth() == 28
        timestamp('2024-02-29T23:59:58.123Z').getDayOfWeek() == 4
        timestamp('2024-02-29T23:59:58.123Z').getDayOfYear() == 59
        timestamp('2024-02-29T23:59:58.123Z').getHours() == 23
        timestamp('2024-02-29T23:59:58.123Z').getMinutes() == 59
        timestamp('2024-02-29T23:59:58.123Z').getSeconds() == 58
        timestamp('2024-02-29T23:59:58.123Z').getMilliseconds() == 123
        timestamp('2024-02-29T23:59:58Z').getHours('+02:00') == 1
        timestamp('2024-02-29T23:59:58Z').getHours('-02:30') == 21
        timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')
        timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')
        timestamp('2024-01-02T00:00:00Z') > timestamp('2024-01-01T00:00:00+01:00')
        timestamp(0) == timestamp('1970-01-01T00:00:00Z') && int(timestamp(5)) == 5
        duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90
        duration('90s').getSeconds() == 90 && duration('1.5s').getMilliseconds() == 1500
        duration('1h') > duration('59m') && duration('1h') + duration('1m') == duration('61m')
        ",
    );
}

#[test]
fn text() {
    check(
        r#"
        'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')
        'hello'.charAt(1) == 'e' && 'hello'.charAt(5) == '' && 'héllo'.charAt(1) == 'é'
        'hello mellow'.indexOf('ello') == 1 && 'hello mellow'.indexOf('jello') == -1
        'hello mellow'.indexOf('ello', 2) == 7 && 'hello'.indexOf('') == 0
        'hello mellow'.lastIndexOf('ello') == 7 && 'hello mellow'.lastIndexOf('ello', 6) == 1
        'TacoCat'.lowerAscii() == 'tacocat' && 'TacoÆCat'.upperAscii() == 'TACOÆCAT'
        'hello hello'.replace('he', 'we') == 'wello wello'
        'hello hello'.replace('he', 'we', 1) == 'wello hello' && 'ab'.replace('', '_') == '_a_b_'
        'hello hello'.replace('he', 'we', 0) == 'hello hello'
        'a b c'.split(' ') == ['a', 'b', 'c'] && 'a b c'.split(' ', 2) == ['a', 'b c']
        'abc'.split('') == ['a', 'b', 'c'] && 'a'.split('x', 0) == [] && 'abc'.split('', 2) == ['a', 'bc']
        'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'
        '  \t a \n'.trim() == 'a'
        ['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('x') == ''
        strings.quote('a"b\n') == '"a\\"b\\n"'
        '%s is %d years'.format([dyn('Bob'), 5]) == 'Bob is 5 years'
        '%.2f %e %b %o %x %X %%'.format([dyn(1.2345), 12.5, 5, 8, 255, 255]) == '1.23 1.250000e+01 101 10 ff FF %'
        '%s'.format([[dyn(1), 'a', {'b': true}]]) == '[1, a, {b: true}]' && '%x'.format(['hi']) == '6869'
        '%s %s'.format([dyn(null), duration('1m')]) == 'null 60s'
        'abc123'.matches('[a-z]+[0-9]+') && !'abc'.matches('^[0-9]+$') && matches('a', 'a')
        'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''
        '123 abc 456'.findAll('[0-9]+') == ['123', '456'] && 'a1b2c3'.findAll('[0-9]', 2) == ['1', '2']
        name.matches(name) && 'web' == name
        "#,
    );
}

#[test]
fn lists_and_sets() {
    check(
        "
        [1, 2, 2].isSorted() && ![2, 1].isSorted() && ['a', 'b'].isSorted() && [].isSorted()
        [1, 3].sum() == 4 && [1.0, 3.5].sum() == 4.5 && [duration('1m'), duration('1s')].sum() == duration('61s')
        [1, 3].min() == 1 && [1, 3].max() == 3 && ['b', 'a'].min() == 'a'
        [1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(5) == -1
        [1, 2, 3, 4].slice(1, 3) == [2, 3] && [1].slice(1, 1) == []
        [[1], [2, 3], []].flatten() == [1, 2, 3] && [dyn(1), [dyn(2), [dyn(3), [4]]]].flatten(2) == [dyn(1), 2, 3, [4]]
        [1, 2, 2, 3, 1].distinct() == [1, 2, 3] && [1, 2, 3].reverse() == [3, 2, 1]
        [3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b']
        object.nested.sortBy(x, -x.value).map(x, x.name) == ['b', 'a']
        lists.range(3) == [0, 1, 2] && lists.range(0) == []
        [1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()
        sets.contains([1, 2, 3], [3, 1]) && !sets.contains([1], [2]) && sets.contains([1], [])
        sets.equivalent([1, 1, 2], [2, 1]) && !sets.equivalent([1], [1, 2])
        sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [])
        math.greatest(1, 2) == 2 && math.least([3, 1, 2]) == 1 && math.ceil(1.2) == 2.0
        ",
    );
}

#[test]
fn quantities_and_versions() {
    check(
        "
        quantity('1Gi').isGreaterThan(quantity('1G')) && isQuantity('100m') && !isQuantity('1 Gi')
        quantity('1500m').add(quantity('500m')) == quantity('2') && quantity('2').asInteger() == 2
        quantity('50k').sub(20000) == quantity('30k') && quantity('1').add(2) == quantity('3')
        quantity('50k').compareTo(quantity('50000')) == 0 && quantity('1').isLessThan(quantity('2'))
        quantity('-1').sign() == -1 && quantity('0').sign() == 0
        quantity('50000000G').isInteger() && !quantity('1500m').isInteger()
        quantity('1500m').asApproximateFloat() == 1.5
        semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3') == semver('1.2.3')
        semver('1.0.0-alpha').compareTo(semver('1.0.0')) == -1 && semver('1.0.0-a.2').isLessThan(semver('1.0.0-a.10'))
        semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3
        isSemver('1.0.0') && !isSemver('v1.0') && isSemver('v1.0', true) && !isSemver('01.0.0')
        semver('v01.01', true) == semver('1.1.0') && !isSemver('200K') && !isSemver('1.0-a', true)
        ",
    );
}

#[test]
fn addresses_and_names() {
    check(
        "
        isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0.256') && !isIP('010.0.0.1') && !isIP('fe80::1%eth0')
        ip('10.0.0.1').family() == 4 && ip('::1').family() == 6 && ip('::1').isLoopback()
        ip('0.0.0.0').isUnspecified() && ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()
        ip('10.0.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast()
        ip.isCanonical('::1') && !ip.isCanonical('::0001') && string(ip('::1')) == '::1'
        !isIP('::ffff:1.2.3.4') && type(ip('::1')) == net.IP
        isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/08')
        cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))
        cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))
        cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')
        cidr('::/0').prefixLength() == 0 && cidr('::/0').containsIP('::1') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'
        url('https://user:pw@example.com:80/p%20q?k=v&k=w&x#f').getHost() == 'example.com:80'
        url('https://example.com:80/').getHostname() == 'example.com' && url('https://[::1]:80/').getHostname() == '::1'
        url('https://example.com:80/').getPort() == '80' && url('https://example.com/').getPort() == ''
        url('https://example.com/p?k=v&k=w').getQuery() == {'k': ['v', 'w']} && url('/a b').getEscapedPath() == '/a%20b'
        isURL('https://a/b') && isURL('/abs/path') && !isURL('../rel') && !isURL(':5000') && !isURL('')
        !format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('My').hasValue()
        format.named('dns1123Subdomain').hasValue() && !format.named('nothing').hasValue()
        format.uuid().validate('x').value() == ['does not match the UUID format']
        !format.byte().validate('aGVsbG8=').hasValue() && format.byte().validate('a b').hasValue()
        !format.date().validate('2021-01-01').hasValue() && format.datetime().validate('2021').hasValue()
        !format.dns1123LabelPrefix().validate('a-').hasValue() && !format.labelValue().validate('').hasValue()
        !format.qualifiedName().validate('example.com/a').hasValue() && !format.uri().validate('http://a').hasValue()
        ",
    );
}

#[test]
fn bindings() {
    let source = "cel.bind(x, [1, 2, 3], x.size() == 3 && x[0] == 1)";
    let plain = Env::new();
    assert!(plain.compile(source).unwrap_err().to_string().contains("undeclared reference to"));
    let env = Env::new().with_bindings();
    let none: BTreeMap<String, Value> = BTreeMap::new();
    let value = env.compile(source).unwrap().evaluate(&none, PER_CALL_LIMIT).result;
    assert!(matches!(value, Ok(Value::Bool(true))));
    let mistake = env.compile("cel.bind(x.y, 1, true)").unwrap_err().to_string();
    assert!(mistake.contains("cel.bind() variable names must be simple identifiers"), "{mistake}");
}

#[test]
fn numbers_as_texts() {
    check(
        r#"
        string(1.0) == '1' && string(0.5) == '0.5' && string(-2.25) == '-2.25'
        string(123456.0) == '123456' && string(1234567.0) == '1.234567e+06'
        string(1e21) == '1e+21' && string(0.0001) == '0.0001' && string(0.00001) == '1e-05'
        "#,
    );
}
