use std::{
    env,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    process::{Command, Stdio},
};

#[test]
fn the_example_greets() {
    let tests = env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples").join("greeter");
    let mut greeter = Command::new(example).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(greeter.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let mut greeting = String::new();
    TcpStream::connect(address.trim()).unwrap().read_to_string(&mut greeting).unwrap();
    greeter.kill().unwrap();
    greeter.wait().unwrap();
    assert_eq!(greeting, "hello\n");
}
