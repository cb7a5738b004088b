defmodule Leash.JSONTest do
  use ExUnit.Case, async: true
  alias Leash.JSON

  test "reads what it wrote" do
    term = %{
      "text" => "a \"quoted\" \\ line\n\t\u0001 é 😀",
      "numbers" => [0, -1, 1.5, -2.5e-3, 12_345_678_901_234_567_890],
      "others" => [true, false, nil, [], %{}]
    }

    assert {:ok, ^term} = term |> JSON.write() |> IO.iodata_to_binary() |> JSON.read()
  end

  test "reads what others write" do
    for {text, term} <- [
          {~S( {"a" : [1 , 2.0e1,-0.5E+1 ] } ), %{"a" => [1, 20.0, -5.0]}},
          {~S("\u00e9\ud83d\ude00\/\b\f\r"), "é😀/\b\f\r"},
          {"1e3", 1000.0},
          {"-0", 0},
          {~S({"a":1,"a":2}), %{"a" => 2}}
        ] do
      assert {text, JSON.read(text)} == {text, {:ok, term}}
    end
  end

  test "refuses all that is none" do
    for text <-
          ["", " ", "{", "[", "]", "nul", "truee", "01", "1.", ".5", "+1", "-", "1e", "1 2", "'a'", "NaN"] ++
            [~S({"a"}), ~S({"a":}), ~S({"a":1,}), ~S({a:1}), ~S({"a":1 "b":2}), "[1,]", "[,]", "[1 2]"] ++
            [~S("), ~S("a), ~S("\x"), ~S("\u12"), ~S("\ud800"), ~S("\ud800\u0041"), ~S("\udc00"), "\"\n\""] ++
            ["\"\xff\"", "\"\xc3\"", "\xef\xbb\xbf1", "1e999", String.duplicate("[", 100_000)] do
      assert {text, JSON.read(text)} == {text, :error}
    end
  end

  test "never raises on what is torn or changed" do
    text = ~S({"jsonrpc":"2.0","method":"output","params":{"line":"é\ud83d\ude00","n":[1,-2.5e3,null,true]}})
    :rand.seed(:exsss, {1, 2, 3})

    for n <- 0..(byte_size(text) - 1) do
      assert JSON.read(binary_part(text, 0, n)) == :error
      <<before::binary-size(n), _, rest::binary>> = text

      for _ <- 1..20 do
        case JSON.read(<<before::binary, :rand.uniform(256) - 1, rest::binary>>) do
          {:ok, %{}} -> :ok
          :error -> :ok
        end
      end
    end
  end
end
